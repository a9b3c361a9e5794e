// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
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
// the pods of the examples their documents.
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
