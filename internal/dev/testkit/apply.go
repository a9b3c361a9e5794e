// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
)

// Objects are Kubernetes objects as read from manifests.
type Objects []*unstructured.Unstructured

// ReadManifests returns the objects in YAML or JSON files, in order. Those of a list stand
// in its place.
func ReadManifests(paths ...string) (Objects, error) {
	var objects Objects
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
		for {
			object := &unstructured.Unstructured{}
			err := decoder.Decode(object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			if objects, err = objects.with(object); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return objects, nil
}

// with appends what was read: an object, the items of a list, or nothing.
func (o Objects) with(read *unstructured.Unstructured) (Objects, error) {
	switch {
	case len(read.Object) == 0:
		return o, nil
	case !read.IsList():
		return append(o, read), nil
	}
	list, err := read.ToList()
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		o = append(o, &list.Items[i])
	}
	return o, nil
}

// Apply makes the objects what they are said to be, by server-side apply.
// Namespaced objects that name no namespace go into the given one.
func (c *Cluster) Apply(ctx context.Context, namespace string, objects Objects) error {
	client, err := discovery.NewDiscoveryClientForConfig(c.REST)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client))
	for _, object := range objects {
		if err := c.apply(ctx, mapper, namespace, object); err != nil {
			return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

func (c *Cluster) apply(ctx context.Context, mapper meta.RESTMapper, namespace string, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	options := metav1.ApplyOptions{FieldManager: "testkit", Force: true}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		_, err = c.Dynamic.Resource(mapping.Resource).Apply(ctx, object.GetName(), object, options)
		return err
	}
	if own := object.GetNamespace(); own != "" {
		namespace = own
	}
	_, err = c.Dynamic.Resource(mapping.Resource).Namespace(namespace).Apply(ctx, object.GetName(), object, options)
	return err
}
