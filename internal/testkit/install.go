// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// Installation is how driver and approver reach the API: each as its own
// ServiceAccount, with the rights of the manifests and no others.
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
	if made.Driver, err = c.ServiceAccountConfig(ctx, InstallNamespace, "csi-driver-spiffe"+suffix); err != nil {
		return Installation{}, err
	}
	made.Approver, err = c.ServiceAccountConfig(ctx, InstallNamespace, "csi-driver-spiffe-approver"+suffix)
	return made, err
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
