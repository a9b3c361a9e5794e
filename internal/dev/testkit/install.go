// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// Installation is how driver and approver reach the API: each as its own
// ServiceAccount, with the rights of the manifests and no others. The driver's
// token is bound to a pod of the driver on the installation's node, as the
// kubelet's are; the node is called as the suffix without its dash.
type Installation struct{ Driver, Approver *rest.Config }

// Install applies the CSIDriver and the RBAC objects of the manifests, in the
// folder manifests of the repository, with suffix added to the names of all
// but the CSIDriver, and with the right to approve for the signers alone
// (clusterissuers.cert-manager.io/NAME).
func (c *Cluster) Install(ctx context.Context, repository, suffix string, signers ...string) (Installation, error) {
	base := filepath.Join(repository, "manifests", "base")
	objects, err := ReadManifests(filepath.Join(base, "csidriver.yaml"),
		filepath.Join(base, "driver-rbac.yaml"), filepath.Join(base, "approver-rbac.yaml"))
	if err != nil {
		return Installation{}, err
	}
	for _, object := range objects {
		rename(object, suffix, signers)
	}
	if err := c.Apply(ctx, InstallNamespace, objects); err != nil {
		return Installation{}, err
	}
	var made Installation
	if made.Driver, err = c.DriverConfig(ctx, suffix, strings.TrimPrefix(suffix, "-")); err != nil {
		return Installation{}, err
	}
	made.Approver, err = c.ServiceAccountConfig(ctx, InstallNamespace, "csi-driver-spiffe-approver"+suffix)
	return made, err
}

// DriverConfig returns how the driver of a node reaches the API, with a token that
// is bound to a pod of the driver on that node; without a node, to none. suffix
// is that of the installation.
func (c *Cluster) DriverConfig(ctx context.Context, suffix, node string) (*rest.Config, error) {
	account := "csi-driver-spiffe" + suffix
	if node == "" {
		return c.ServiceAccountConfig(ctx, InstallNamespace, account)
	}
	name := account + "-" + node
	pods := c.Kubernetes.CoreV1().Pods(InstallNamespace)
	pod, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: InstallNamespace},
		Spec: corev1.PodSpec{
			ServiceAccountName: account, NodeName: node,
			Containers: []corev1.Container{{Name: "csi-driver-spiffe", Image: "csi-driver-spiffe"}},
		},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		pod, err = pods.Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("making a pod of the driver on node %s: %w", node, err)
	}
	token, err := c.token(ctx, InstallNamespace, account, "", pod, 24*3600)
	if err != nil {
		return nil, err
	}
	return c.As(token.Token), nil
}

// rename gives an object and whatever it refers to the suffix.
func rename(object *unstructured.Unstructured, suffix string, signers []string) {
	if object.GetKind() == "CSIDriver" {
		return
	}
	walk(object.Object, func(parent map[string]any, key string) {
		switch value := parent[key].(type) {
		case string:
			// The base says no namespace, for kustomize to fill in; Apply does for the objects themselves.
			if key == "kind" && value == "ServiceAccount" && parent["metadata"] == nil {
				parent["namespace"] = InstallNamespace
			}
			if key == "name" && strings.HasPrefix(value, "csi-driver-spiffe") && !strings.HasSuffix(value, suffix) {
				parent[key] = value + suffix
			}
		case []any:
			if key == "resourceNames" {
				parent[key] = renameResources(value, suffix, signers)
			}
		}
	})
}

// renameResources is for the rights on objects of some names: the Lease's gets
// the suffix, the signer is replaced.
func renameResources(names []any, suffix string, signers []string) []any {
	if name, ok := names[0].(string); ok && strings.HasPrefix(name, "csi-driver-spiffe") {
		return []any{name + suffix}
	}
	replaced := make([]any, len(signers))
	for i, signer := range signers {
		replaced[i] = signer
	}
	return replaced
}

// walk calls visit for each key of a tree of maps and lists.
func walk(node any, visit func(parent map[string]any, key string)) {
	switch node := node.(type) {
	case map[string]any:
		for key := range node {
			visit(node, key)
			walk(node[key], visit)
		}
	case []any:
		for _, child := range node {
			walk(child, visit)
		}
	}
}
