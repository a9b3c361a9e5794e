// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"cmp"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// chart is the Helm chart, and secondValues are the values that README has for a
// second installation.
const (
	chart        = repository + "/manifests/helm/csi-driver-spiffe"
	secondValues = "app.name=b.spiffe.example.org,app.trustDomain=b.trust.domain,app.issuer.name=csi-driver-spiffe-b-ca," +
		"config.volume.tmpfsPath=/var/run/csi-driver-spiffe-b"
)

// A shelf is a cluster on which several releases of the chart are installed.
type shelf struct {
	*testkit.Cluster
	t               *testing.T
	dir, kubeconfig string
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	if _, err := os.Stat(helmProgram); err != nil {
		t.Skip("needs helm: run `make test`, or `make bin/tools/helm`")
	}
	s := &shelf{Cluster: testkit.RequireOwn(t), t: t, dir: t.TempDir()}
	s.kubeconfig = filepath.Join(s.dir, "kubeconfig")
	s.check(testkit.WriteKubeconfig(s.kubeconfig, s.REST))
	return s
}

func (s *shelf) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// helm runs Helm, and returns what it says when it fails.
func (s *shelf) helm(args ...string) (stderr string, err error) {
	command := exec.CommandContext(s.t.Context(), helmProgram, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig, "HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, "XDG_CACHE_HOME="+s.dir, "XDG_DATA_HOME="+s.dir)
	var out bytes.Buffer
	command.Stderr = &out
	err = command.Run()
	return out.String(), err
}

// install installs or upgrades a release.
func (s *shelf) install(release, namespace, chart string, args ...string) {
	s.t.Helper()
	args = append([]string{"upgrade", "--install", release, chart, "--namespace", namespace, "--create-namespace"}, args...)
	if stderr, err := s.helm(args...); err != nil {
		s.t.Fatalf("helm %q: %v\n%s", args, err, stderr)
	}
}

// clusterWide are the versions of all objects of csi-driver-spiffe that are the
// cluster's, by kind and name.
func (s *shelf) clusterWide() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	options := metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=csi-driver-spiffe"}
	add := func(kind string, meta metav1.ObjectMeta) { found[kind+" "+meta.Name] = meta.ResourceVersion }
	drivers, err := s.Kubernetes.StorageV1().CSIDrivers().List(s.t.Context(), options)
	s.check(err)
	for _, item := range drivers.Items {
		add("CSIDriver", item.ObjectMeta)
	}
	roles, err := s.Kubernetes.RbacV1().ClusterRoles().List(s.t.Context(), options)
	s.check(err)
	for _, item := range roles.Items {
		add("ClusterRole", item.ObjectMeta)
	}
	bindings, err := s.Kubernetes.RbacV1().ClusterRoleBindings().List(s.t.Context(), options)
	s.check(err)
	for _, item := range bindings.Items {
		add("ClusterRoleBinding", item.ObjectMeta)
	}
	policies, err := s.Kubernetes.AdmissionregistrationV1().ValidatingAdmissionPolicies().List(s.t.Context(), options)
	s.check(err)
	for _, item := range policies.Items {
		add("ValidatingAdmissionPolicy", item.ObjectMeta)
	}
	return found
}

// requireUnchanged asserts that cluster-wide objects are as they were.
func (s *shelf) requireUnchanged(before map[string]string) {
	s.t.Helper()
	after := s.clusterWide()
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if after[name] != before[name] {
			s.t.Errorf("%s has changed: version %q, was %q", name, cmp.Or(after[name], "none"), before[name])
		}
	}
}

// A release whose cluster-wide objects had other names is upgraded, and leaves none
// of them. Releases with names of their own live side by side, and one with the driver name
// of another is refused before anything is changed.
func TestHelmReleasesSideBySide(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.installWithOldNames()
	s.install("csi-driver-spiffe", "cert-manager", chart, "--set", "admission.enabled=true")
	first := s.clusterWide()
	want := []string{
		"CSIDriver spiffe.csi.cert-manager.io",
		"ClusterRole csi-driver-spiffe-approver.cert-manager", "ClusterRole csi-driver-spiffe.cert-manager",
		"ClusterRoleBinding csi-driver-spiffe-approver.cert-manager", "ClusterRoleBinding csi-driver-spiffe.cert-manager",
		"ValidatingAdmissionPolicy csi-driver-spiffe-deletions.cert-manager", "ValidatingAdmissionPolicy csi-driver-spiffe-labels.cert-manager",
		"ValidatingAdmissionPolicy csi-driver-spiffe-requests.cert-manager",
	}
	if got := slices.Sorted(maps.Keys(first)); !slices.Equal(got, want) {
		t.Fatalf("after the upgrade there are %q, want %q", got, want)
	}

	args := []string{"install", "again", chart, "--namespace", "spiffe-again", "--create-namespace"}
	stderr, err := s.helm(args...)
	for _, want := range []string{
		`CSIDriver "spiffe.csi.cert-manager.io" belongs to the release csi-driver-spiffe in the namespace cert-manager`,
		"give app.name, app.trustDomain, app.issuer.name and config.volume.tmpfsPath other values",
		"kubectl delete csidriver spiffe.csi.cert-manager.io",
	} {
		if err == nil || !strings.Contains(stderr, want) {
			t.Errorf("got %v, %s, want %s", err, stderr, want)
		}
	}
	if _, err := s.Kubernetes.CoreV1().ConfigMaps("spiffe-again").Get(t.Context(), "csi-driver-spiffe", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the refused release has a ConfigMap: %v", err)
	}
	s.requireUnchanged(first)

	s.install("csi-driver-spiffe-b", "spiffe-b", chart, "--set", "admission.enabled=true", "--set", secondValues)
	s.requireUnchanged(first)
	if both := s.clusterWide(); len(both) != 2*len(first) {
		t.Errorf("both have %v", both)
	}
	// And the first one can go.
	if stderr, err := s.helm("uninstall", "csi-driver-spiffe", "--namespace", "cert-manager"); err != nil {
		t.Fatal(err, stderr)
	}
	if left := s.clusterWide(); len(left) != len(first) || left["CSIDriver b.spiffe.example.org"] == "" {
		t.Errorf("left are %v", left)
	}
}

// installWithOldNames installs a release of a chart whose cluster-wide objects have
// no namespace in their names, as they had none at first.
func (s *shelf) installWithOldNames() {
	s.t.Helper()
	old := filepath.Join(s.dir, "chart")
	s.check(os.CopyFS(old, os.DirFS(chart)))
	helpers := filepath.Join(old, "templates/_helpers.tpl")
	text, err := os.ReadFile(helpers)
	s.check(err)
	const name = "{{ .name }}.{{ .root.Release.Namespace }}"
	if !bytes.Contains(text, []byte(name)) {
		s.t.Fatal("the chart makes names in another way")
	}
	s.check(os.WriteFile(helpers, bytes.Replace(text, []byte(name), []byte("{{ .name }}"), 1), 0o600))
	s.install("csi-driver-spiffe", "cert-manager", old, "--set", "admission.enabled=true")
	if found := s.clusterWide(); found["ClusterRole csi-driver-spiffe"] == "" || len(found) != 8 {
		s.t.Fatalf("the old chart made %v", found)
	}
}

// kubectl applied to a second namespace changes nothing of the first installation,
// neither with kustomize nor with jsonnet, though both have the same driver name.
func TestKubectlApplyToASecondNamespaceChangesNothingOfTheFirst(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	for _, namespace := range []string{"cert-manager", "spiffe-b", "spiffe-c"} {
		_, err := s.Kubernetes.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			s.check(err)
		}
	}
	s.kubectlApply(s.kustomize("cert-manager"))
	first := s.clusterWide()
	s.kubectlApply(s.kustomize("spiffe-b"))
	s.requireUnchanged(first)
	library, err := filepath.Abs(repository + "/manifests/jsonnet/csi-driver-spiffe.libsonnet")
	s.check(err)
	s.kubectlApply(s.run("jsonnet", "-e", "(import '"+library+"').new({ namespace: 'spiffe-c' }).list"))
	s.requireUnchanged(first)
	if all := s.clusterWide(); len(all) != 3*(len(first)-1)+1 {
		t.Errorf("all three have %v", all)
	}
}

// kustomize renders the base in a namespace.
func (s *shelf) kustomize(namespace string) []byte {
	s.t.Helper()
	folder, err := os.MkdirTemp(filepath.Join(repository, "manifests/examples"), "side-") // kustomize takes relative paths only
	s.check(err)
	defer os.RemoveAll(folder)
	s.check(os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte("namespace: "+namespace+"\nresources: [../../base]\n"), 0o600))
	return s.run("kustomize", "build", folder)
}

func (s *shelf) run(tool string, args ...string) []byte {
	s.t.Helper()
	command := exec.CommandContext(s.t.Context(), filepath.Join(repository, "bin/tools", tool), args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		s.t.Fatalf("%s %q: %v: %s", tool, args, err, stderr.String())
	}
	return out
}

// kubectlApply applies what a tool has rendered, as kubectl does.
func (s *shelf) kubectlApply(rendered []byte) {
	s.t.Helper()
	file := filepath.Join(s.dir, "rendered.yaml")
	s.check(os.WriteFile(file, rendered, 0o600))
	read, err := testkit.ReadManifests(file)
	s.check(err)
	s.check(s.Apply(s.t.Context(), "", read))
}
