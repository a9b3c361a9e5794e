// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// policyKind is the kind of the admission policies; their bindings have another.
const policyKind = "ValidatingAdmissionPolicy"

// InstallAdmission applies the admission policies of
// manifests/components/admission, in the repository, with suffix added to their
// names as [Cluster.Install] does. The signers (clusterissuers.cert-manager.io/NAME
// or issuers.cert-manager.io/NAMESPACE.NAME) are the issuers of the SVIDs.
//
// The policies of an installation judge nothing but requests in namespaces whose
// name begins with namespaces, so that tests on one cluster do not disturb each
// other. It takes the API server about a second to enforce them.
func (c *Cluster) InstallAdmission(ctx context.Context, repository, suffix, namespaces string, signers ...string) error {
	folder := filepath.Join(repository, "manifests", "components", "admission")
	objects, err := ReadManifests(filepath.Join(folder, "requests.yaml"), filepath.Join(folder, "labels.yaml"), filepath.Join(folder, "deletions.yaml"))
	if err != nil {
		return err
	}
	for _, object := range objects {
		rename(object, suffix, nil)
		if err := adjustPolicy(object, suffix, namespaces, signers); err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return c.Apply(ctx, InstallNamespace, objects)
}

// adjustPolicy gives a binding the suffix where rename does not reach, and a policy
// its namespaces and issuers.
func adjustPolicy(object *unstructured.Unstructured, suffix, namespaces string, signers []string) error {
	if object.GetKind() != policyKind {
		name, _, err := unstructured.NestedString(object.Object, "spec", "policyName")
		if err != nil {
			return err
		}
		return unstructured.SetNestedField(object.Object, name+suffix, "spec", "policyName")
	}
	scope := map[string]any{"name": "namespaces", "expression": fmt.Sprintf("request.namespace.startsWith(%q)", namespaces)}
	if err := unstructured.SetNestedSlice(object.Object, []any{scope}, "spec", "matchConditions"); err != nil {
		return err
	}
	variables, _, err := unstructured.NestedSlice(object.Object, "spec", "variables")
	if err != nil {
		return err
	}
	for _, variable := range variables {
		variable := variable.(map[string]any)
		if variable["name"] != "issuers" {
			continue
		}
		issuers, err := json.Marshal(issuersOf(signers))
		if err != nil {
			return err
		}
		variable["expression"] = string(issuers)
	}
	return unstructured.SetNestedSlice(object.Object, variables, "spec", "variables")
}

// issuersOf returns the issuerRefs of signers.
func issuersOf(signers []string) []map[string]string {
	kinds := map[string]string{"clusterissuers": "ClusterIssuer", "issuers": "Issuer"}
	issuers := make([]map[string]string, len(signers))
	for i, signer := range signers {
		resource, name, _ := strings.Cut(signer, "/")
		plural, group, _ := strings.Cut(resource, ".")
		if plural == "issuers" {
			_, name, _ = strings.Cut(name, ".")
		}
		issuers[i] = map[string]string{"name": name, "kind": kinds[plural], "group": group}
	}
	return issuers
}
