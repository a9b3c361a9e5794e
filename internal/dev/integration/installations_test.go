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
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// helmProgram is pinned in internal/dev/tools/helm.
const helmProgram = repository + "/bin/tools/helm"

// The command line of the existing project's documentation, but for the name of
// the chart and --wait: nothing runs pods here.
// https://cert-manager.io/docs/usage/csi-driver-spiffe/installation/
var helmCommandLine = []string{
	"upgrade", "cert-manager-csi-driver-spiffe", repository + "/manifests/helm/csi-driver-spiffe",
	"--install", "--namespace", "cert-manager",
	"--set", "app.logLevel=1",
	"--set", "app.trustDomain=" + trustDomain,
	"--set", "app.approver.signerName=clusterissuers.cert-manager.io/csi-driver-spiffe-ca",
	"--set", "app.issuer.name=csi-driver-spiffe-ca",
	"--set", "app.issuer.kind=ClusterIssuer",
	"--set", "app.issuer.group=cert-manager.io",
	"--set", "app.driver.volumes[0].name=root-cas",
	"--set", "app.driver.volumes[0].secret.secretName=csi-driver-spiffe-ca",
	"--set", "app.driver.volumeMounts[0].name=root-cas",
	"--set", "app.driver.volumeMounts[0].mountPath=/var/run/secrets/cert-manager-csi-driver-spiffe",
	"--set", "app.driver.sourceCABundle=/var/run/secrets/cert-manager-csi-driver-spiffe/ca.crt",
}

// Helm takes a release of the existing chart to this one. Then the daemons run
// with the ServiceAccounts and the configuration file of the release, and give
// the pods of the examples their SVIDs.
func TestHelmUpgradeFromTheExistingChart(t *testing.T) {
	if _, err := os.Stat(helmProgram); err != nil {
		t.Skip("needs helm: run `make test`, or `make bin/tools/helm`")
	}
	t.Parallel()
	w := &world{Cluster: testkit.RequireOwn(t), t: t, log: &log{}, dir: t.TempDir(), node: "node-1"}
	var err error
	w.ca, err = testkit.NewCA("csi-driver-spiffe-ca")
	w.check(err)
	w.check(w.CreateClusterIssuer(t.Context(), "csi-driver-spiffe-ca", w.ca))
	kubeconfig := filepath.Join(w.dir, "kubeconfig")
	w.check(testkit.WriteKubeconfig(kubeconfig, w.REST))
	w.helm(kubeconfig, "install", "cert-manager-csi-driver-spiffe", "testdata/existing-chart", "--namespace", "cert-manager")
	w.helm(kubeconfig, helmCommandLine...)
	w.helm(kubeconfig, helmCommandLine...) // and again, as the next upgrade will

	w.installation.Driver, err = w.ServiceAccountConfig(t.Context(), "cert-manager", "csi-driver-spiffe")
	w.check(err)
	w.installation.Approver, err = w.ServiceAccountConfig(t.Context(), "cert-manager", "csi-driver-spiffe-approver")
	w.check(err)
	w.config = w.installedConfig()
	w.startApprover()
	w.startDriver()
	for _, name := range []string{"example-app", "fs-group-app", "attributes-app"} {
		pod := w.example(name)
		target := w.publish(pod)
		svid := w.readSVID(target)
		if want := "spiffe://" + trustDomain + "/ns/sandbox/sa/" + name; svid.ID.String() != want {
			t.Errorf("SPIFFE ID %s, want %s", svid.ID, want)
		}
		w.verify(svid)
		if bundle, err := os.ReadFile(filepath.Join(target, "ca.crt")); err != nil || !bytes.Equal(bundle, w.ca.CertificatePEM) {
			t.Errorf("%s: ca.crt is %q, %v", name, bundle, err)
		}
		w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	}
}

// helm runs Helm as an administrator of the cluster.
func (w *world) helm(kubeconfig string, args ...string) {
	w.t.Helper()
	command := exec.CommandContext(w.t.Context(), helmProgram, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "HOME="+w.dir, "XDG_CONFIG_HOME="+w.dir, "XDG_CACHE_HOME="+w.dir, "XDG_DATA_HOME="+w.dir)
	if output, err := command.CombinedOutput(); err != nil {
		w.t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

// installedConfig is the file that is in the cluster, with the folders of this
// test in place of those of a node.
func (w *world) installedConfig() *config.Config {
	w.t.Helper()
	installed, err := w.Kubernetes.CoreV1().ConfigMaps("cert-manager").Get(w.t.Context(), "csi-driver-spiffe", metav1.GetOptions{})
	w.check(err)
	bundle := filepath.Join(w.dir, "ca.crt")
	w.check(os.WriteFile(bundle, w.ca.CertificatePEM, 0o600))
	text := strings.NewReplacer(
		"/var/run/secrets/cert-manager-csi-driver-spiffe/ca.crt", bundle,
		"/var/run/csi-driver-spiffe", filepath.Join(w.dir, "tmpfs"), "/var/lib/kubelet", w.kubeletRoot(),
	).Replace(installed.Data["config.yaml"])
	c, err := config.Parse("config.yaml", []byte(text))
	w.check(err)
	return c
}

// example makes the pod of an example and what it needs.
func (w *world) example(name string) *corev1.Pod {
	w.t.Helper()
	objects, err := testkit.ReadManifests(filepath.Join(repository, "manifests", "examples", name+".yaml"))
	w.check(err)
	w.check(w.Apply(w.t.Context(), "", objects[:len(objects)-1]))
	pod := &corev1.Pod{}
	w.check(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(objects[len(objects)-1].Object, pod, true))
	pod.Spec.NodeName = w.node
	pod, err = w.Kubernetes.CoreV1().Pods(pod.Namespace).Create(w.t.Context(), pod, metav1.CreateOptions{})
	w.check(err)
	return pod
}

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
