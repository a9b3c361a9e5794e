// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// policyKind is the kind of the admission policies; their bindings have another.
const policyKind = "ValidatingAdmissionPolicy"

// InstallAdmission applies the admission policies of
// manifests/components/admission, in the repository, with suffix added to their
// names as [Cluster.Install] does. The signers (clusterissuers.cert-manager.io/NAME
// or issuers.cert-manager.io/NAMESPACE.NAME) are the issuers of the SVIDs.
//
// The policies of an installation judge nothing but requests in namespaces whose
// name begins with namespace, so that tests on one cluster do not disturb each
// other. There must be one of this very name. InstallAdmission returns when the API
// server enforces them, which takes it about a second.
func (c *Cluster) InstallAdmission(ctx context.Context, repository, suffix, namespace string, signers ...string) error {
	return c.InstallAdmissionOf(ctx, repository, suffix, namespace, "", signers...)
}

// InstallAdmissionOf does the same for a driver.name other than the default one, or
// for that if driver is empty.
func (c *Cluster) InstallAdmissionOf(ctx context.Context, repository, suffix, namespace, driver string, signers ...string) error {
	folder := filepath.Join(repository, "manifests", "components", "admission")
	// The API server sees them in this order: when it enforces the last, it enforces all.
	objects, err := ReadManifests(filepath.Join(folder, "requests.yaml"), filepath.Join(folder, "deletions.yaml"), filepath.Join(folder, "labels.yaml"))
	if err != nil {
		return err
	}
	for _, object := range objects {
		rename(object, suffix, nil)
		if err := adjustPolicy(object, suffix, namespace, driver, signers); err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	if err := c.Apply(ctx, InstallNamespace, objects); err != nil {
		return err
	}
	return c.waitForAdmission(ctx, "csi-driver-spiffe-labels"+suffix, namespace, driver)
}

// RemoveAdmission deletes what InstallAdmission has applied with a suffix. The API
// server looks at every policy for each request, so that those of tests that have
// ended slow down the others.
func (c *Cluster) RemoveAdmission(ctx context.Context, suffix string) error {
	policies := c.Kubernetes.AdmissionregistrationV1()
	var errs []error
	for _, name := range []string{"requests", "deletions", "labels"} {
		name = "csi-driver-spiffe-" + name + suffix
		errs = append(errs, policies.ValidatingAdmissionPolicyBindings().Delete(ctx, name, metav1.DeleteOptions{}),
			policies.ValidatingAdmissionPolicies().Delete(ctx, name, metav1.DeleteOptions{}))
	}
	return errors.Join(errs...)
}

// waitForAdmission waits until the policy for labels rejects a request that carries
// one of them and is made by an administrator. cert-manager's webhook, which is asked
// later, rejects it too, for it holds no CSR.
func (c *Cluster) waitForAdmission(ctx context.Context, policy, namespace, driver string) error {
	probe := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-", Labels: map[string]string{issuance.LabelNode: "probe"}},
		Spec:       cmapi.CertificateRequestSpec{Request: []byte("not a CSR"), IssuerRef: cmmeta.IssuerReference{Name: "none"}},
	}
	if driver != "" {
		probe.Labels[issuance.LabelDriver] = driver
	}
	var err error
	waited := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err = c.CertManager.CertmanagerV1().CertificateRequests(namespace).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+policy+"'"), nil
	})
	if waited != nil {
		return fmt.Errorf("the API server does not enforce ValidatingAdmissionPolicy %s: %w (a request that it should reject: %w)", policy, waited, err)
	}
	return nil
}

// adjustPolicy gives a binding the suffix where rename does not reach, and a policy
// its namespaces, driver and issuers.
func adjustPolicy(object *unstructured.Unstructured, suffix, namespace, driver string, signers []string) error {
	if object.GetKind() != policyKind {
		name, _, err := unstructured.NestedString(object.Object, "spec", "policyName")
		if err != nil {
			return err
		}
		return unstructured.SetNestedField(object.Object, name+suffix, "spec", "policyName")
	}
	scope := map[string]any{"name": "namespaces", "expression": fmt.Sprintf("request.namespace.startsWith(%q)", namespace)}
	if err := unstructured.SetNestedSlice(object.Object, []any{scope}, "spec", "matchConditions"); err != nil {
		return err
	}
	variables, _, err := unstructured.NestedSlice(object.Object, "spec", "variables")
	if err != nil {
		return err
	}
	for _, variable := range variables {
		variable := variable.(map[string]any)
		var constant any
		switch variable["name"] {
		case "issuers":
			constant = issuersOf(signers)
		case "driver":
			constant = cmp.Or(driver, "spiffe.csi.cert-manager.io")
		default:
			continue
		}
		expression, err := json.Marshal(constant)
		if err != nil {
			return err
		}
		variable["expression"] = string(expression)
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
