// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// shared returns the keys of the objects that two installations both have.
func shared(first, second map[string]*unstructured.Unstructured) []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(first)) {
		if second[key] != nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// An installation with a driver name and a namespace of its own has no object of
// another one.
func TestTwoInstallationsHaveNoObjectInCommon(t *testing.T) {
	t.Parallel()
	for tool := range tools {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			first, second := render(t, tool, "admission"), render(t, tool, "second-installation")
			if got := shared(first, second); len(got) > 0 {
				t.Errorf("both installations have %q", got)
			}
		})
	}
}

// Where somebody forgets the driver name, or does not know of the first
// installation, the second one changes nothing of the first: they have the
// CSIDriver object in common, and that is the same.
func TestASecondInstallationOfTheSameDriverChangesNothingOfTheFirst(t *testing.T) {
	t.Parallel()
	for tool := range tools {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			first, second := render(t, tool, "defaults"), render(t, tool, "other-namespace")
			const driver = "CSIDriver - spiffe.csi.cert-manager.io"
			if got := shared(first, second); !slices.Equal(got, []string{driver}) {
				t.Fatalf("both installations have %q, want the CSIDriver alone", got)
			}
			if diff := cmp.Diff(first[driver].Object, second[driver].Object); diff != "" {
				t.Errorf("the CSIDriver (-first +second):\n%s", diff)
			}
		})
	}
}

// The cluster-wide objects of an installation refer to each other, whatever they
// are called.
func TestBindingsNameRolesThatAreThere(t *testing.T) {
	t.Parallel()
	eachInstallation(t, func(i installation) { i.requireBindings() })
}

func (i installation) requireBindings() {
	i.t.Helper()
	count := 0
	for key, object := range i.objects {
		if !strings.HasPrefix(key, "ClusterRoleBinding ") {
			continue
		}
		count++
		var binding rbacv1.ClusterRoleBinding
		i.get("ClusterRoleBinding", object.GetName(), &binding)
		if binding.RoleRef.Name != binding.Name {
			i.t.Errorf("%s is a binding of %s", binding.Name, binding.RoleRef.Name)
		}
		i.find("ClusterRole", binding.RoleRef.Name)
		for _, subject := range binding.Subjects {
			if account := i.find("ServiceAccount", subject.Name); account.GetNamespace() != subject.Namespace {
				i.t.Errorf("%s is for %s/%s, which is not there", binding.Name, subject.Namespace, subject.Name)
			}
		}
	}
	if count != 2 {
		i.t.Errorf("there are %d ClusterRoleBindings, want 2", count)
	}
}

// With kustomize's nameSuffix all objects are other ones, the CSIDriver too, and
// the driver is told the name of that.
func TestANameSuffixMakesAnotherInstallation(t *testing.T) {
	t.Parallel()
	folder, err := os.MkdirTemp(absolute(t, repository+"/manifests/examples"), "suffix-") // kustomize takes relative paths only
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	check(t, os.WriteFile(folder+"/kustomization.yaml", []byte("namespace: other\nnameSuffix: -b\nresources: [../../base]\ncomponents: [../../components/admission]\n"), 0o600))
	i := installation{t: t, objects: objects(t, run(t, nil, "kustomize", "build", folder))}
	if got := shared(render(t, "kustomize", "admission"), i.objects); len(got) > 0 {
		t.Errorf("both installations have %q", got)
	}
	i.requireBindings()
	const name = "spiffe.csi.cert-manager.io-b"
	i.find("CSIDriver", name)
	driver := i.find("DaemonSet", "csi-driver-spiffe-b")
	containers, _, err := unstructured.NestedSlice(driver.Object, "spec", "template", "spec", "containers")
	check(t, err)
	args, _, err := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
	check(t, err)
	for _, want := range []string{"--csidriver-object=" + name, "--kubelet-registration-path=/var/lib/kubelet/plugins/" + name + "/csi.sock"} {
		if !slices.Contains(args, want) {
			t.Errorf("the driver's arguments are %q, want %s among them", args, want)
		}
	}
}

// The base and the components can be taken from a repository, as README has it:
// nothing in them refers to a file that is not below them.
func TestTheBaseCanBeTakenFromARepository(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	origin, folder := t.TempDir(), t.TempDir()
	check(t, os.CopyFS(origin+"/manifests", os.DirFS(repository+"/manifests")))
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "--all"},
		{"-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "--message=x"},
	} {
		if output, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", origin}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, output)
		}
	}
	check(t, os.WriteFile(folder+"/kustomization.yaml", []byte("namespace: cert-manager\nresources:\n  - file://"+origin+"//manifests/base?ref=main\n"+
		"components:\n  - file://"+origin+"//manifests/components/admission?ref=main\n"), 0o600))
	got := objects(t, run(t, nil, "kustomize", "build", folder))
	if diff := cmp.Diff(render(t, "kustomize", "admission-defaults"), got); diff != "" {
		t.Errorf("(-from the folder +from the repository):\n%s", diff)
	}
}
