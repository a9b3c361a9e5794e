// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// admissionPolicies are the names of the policies, and of their bindings.
var admissionPolicies = []string{"csi-driver-spiffe-deletions", "csi-driver-spiffe-labels", "csi-driver-spiffe-requests"}

// Where the admission policies are on, all of them are enforced, for the issuer of
// the configuration file and for the ServiceAccount of the driver.
func TestAdmissionPoliciesAgreeWithTheInstallation(t *testing.T) {
	t.Parallel()
	eachInstallation(t, func(i installation) {
		found := map[string]bool{}
		for key, object := range i.objects {
			if strings.HasPrefix(key, "ValidatingAdmissionPolicy ") {
				found[object.GetName()] = true
			}
		}
		var want []string
		if name := i.t.Name(); strings.Contains(name, "/admission") || strings.Contains(name, "/second-installation") {
			for _, policy := range admissionPolicies {
				want = append(want, i.clusterName(policy))
			}
		}
		if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
			i.t.Fatalf("got the policies %q, want %q", got, want)
		}
		for _, name := range want {
			i.requireEnforced(name)
		}
		if len(want) > 0 {
			i.requireAdmissionIssuer()
			i.requireAdmissionDriver()
			i.requireAdmissionAccount()
		}
	})
}

// requireEnforced asserts that a policy rejects what it can evaluate to false and
// what it cannot evaluate.
func (i installation) requireEnforced(name string) {
	i.t.Helper()
	var made admissionv1.ValidatingAdmissionPolicy
	i.get("ValidatingAdmissionPolicy", name, &made)
	if got := made.Spec.FailurePolicy; got == nil || *got != admissionv1.Fail {
		i.t.Errorf("%s: failurePolicy is %v, want Fail", name, got)
	}
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	i.get("ValidatingAdmissionPolicyBinding", name, &binding)
	if binding.Spec.PolicyName != name || !slices.Equal(binding.Spec.ValidationActions, []admissionv1.ValidationAction{admissionv1.Deny}) {
		i.t.Errorf("%s: the binding is %+v, want it to deny", name, binding.Spec)
	}
}

func (i installation) requireAdmissionIssuer() {
	i.t.Helper()
	var made admissionv1.ValidatingAdmissionPolicy
	i.get("ValidatingAdmissionPolicy", i.clusterName("csi-driver-spiffe-requests"), &made)
	for _, variable := range made.Spec.Variables {
		if variable.Name != "issuers" {
			continue
		}
		var issuers []policy.IssuerRef
		check(i.t, json.Unmarshal([]byte(variable.Expression), &issuers))
		if want := []policy.IssuerRef{i.config.IssuerRef}; !slices.Equal(issuers, want) {
			i.t.Errorf("the issuers are %v, want %v", issuers, want)
		}
		return
	}
	i.t.Error("there is no variable issuers")
}

// requireAdmissionDriver asserts that the policies know the name of this driver, by
// which they leave requests of other installations alone.
func (i installation) requireAdmissionDriver() {
	i.t.Helper()
	want := strconv.Quote(i.config.Driver.Name)
	for _, name := range []string{"csi-driver-spiffe-requests", "csi-driver-spiffe-labels"} {
		var made admissionv1.ValidatingAdmissionPolicy
		i.get("ValidatingAdmissionPolicy", i.clusterName(name), &made)
		if index := slices.IndexFunc(made.Spec.Variables, func(v admissionv1.Variable) bool { return v.Name == "driver" }); index < 0 {
			i.t.Errorf("%s has no variable driver", name)
		} else if got := made.Spec.Variables[index].Expression; got != want {
			i.t.Errorf("%s: the driver is %s, want %s", name, got, want)
		}
	}
}

func (i installation) requireAdmissionAccount() {
	i.t.Helper()
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	i.get("ValidatingAdmissionPolicyBinding", i.clusterName("csi-driver-spiffe-deletions"), &binding)
	var parameter rbacv1.ClusterRoleBinding
	i.get("ClusterRoleBinding", binding.Spec.ParamRef.Name, &parameter)
	daemonSet, _ := i.driver()
	want := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: daemonSet.Namespace, Name: daemonSet.Spec.Template.Spec.ServiceAccountName}}
	if !slices.Equal(parameter.Subjects, want) {
		i.t.Errorf("the parameter names %v, want %v", parameter.Subjects, want)
	}
}

// With a namePrefix, a kustomization's bindings still name their policies and their
// parameter.
func TestAdmissionPoliciesFollowANamePrefix(t *testing.T) {
	t.Parallel()
	folder, err := os.MkdirTemp(absolute(t, repository+"/manifests/examples"), "prefix-") // kustomize takes relative paths only
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	check(t, os.WriteFile(folder+"/kustomization.yaml", []byte("namespace: other\nnamePrefix: my-\nresources: [../../base]\ncomponents: [../../components/admission]\n"), 0o600))
	i := installation{t: t, objects: objects(t, run(t, nil, "kustomize", "build", folder))}
	for _, name := range admissionPolicies {
		var binding admissionv1.ValidatingAdmissionPolicyBinding
		i.get("ValidatingAdmissionPolicyBinding", "my-"+name+".other", &binding)
		if binding.Spec.PolicyName != "my-"+name+".other" {
			t.Errorf("my-%s is the binding of %s", name, binding.Spec.PolicyName)
		}
		if name == "csi-driver-spiffe-deletions" && binding.Spec.ParamRef.Name != "my-csi-driver-spiffe.other" {
			t.Errorf("the parameter is %s", binding.Spec.ParamRef.Name)
		}
	}
}
