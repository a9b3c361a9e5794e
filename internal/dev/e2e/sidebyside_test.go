// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// A neighbour is an installation beside the first one, with a driver name, trust
// domain, issuer, namespace and folder on the node of its own.
type neighbour struct {
	letter, tool string
	install      func(t *testing.T, w *world, n neighbour)
}

// neighbours are one for each tool. The first of them is that of
// manifests/examples/kustomize/second-installation.
var neighbours = []neighbour{
	{"b", "kustomize", installWithKustomize},
	{"c", "Helm", installWithHelm},
	{"d", "jsonnet", installWithJsonnet},
}

func (n neighbour) namespace() string   { return "spiffe-" + n.letter }
func (n neighbour) driver() string      { return n.letter + ".spiffe.example.org" }
func (n neighbour) trustDomain() string { return n.letter + ".trust.domain" }
func (n neighbour) issuer() string      { return "csi-driver-spiffe-" + n.letter + "-ca" }
func (n neighbour) tmpfs() string       { return "/var/run/csi-driver-spiffe-" + n.letter }

// sideBySide installs the product three more times, has a pod mount a volume of each
// of the four drivers, and installs the first one once more, which is refused.
func sideBySide(t *testing.T, w *world) {
	for _, n := range neighbours {
		step(t, "installed with "+n.tool, func(t *testing.T) {
			start := time.Now()
			ca, err := testkit.NewCA(n.issuer())
			if err == nil {
				err = w.CreateClusterIssuer(t.Context(), n.issuer(), ca)
			}
			if err != nil {
				t.Fatal(err)
			}
			w.createNamespace(t, n.namespace())
			n.install(t, w, n)
			w.waitPodsReady(t, n.namespace(), driverPods, 1)
			w.waitPodsReady(t, n.namespace(), approverPods, 2)
			w.report.timed("another installation, with "+n.tool, start, "")
		})
	}
	step(t, "a pod with volumes of all", func(t *testing.T) { volumesOfAll(t, w) })
	step(t, "the same driver once more", func(t *testing.T) { sameDriverAgain(t, w) })
}

func (w *world) createNamespace(t *testing.T, name string) {
	t.Helper()
	_, err := w.Kubernetes.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// images are those that were built, in a kustomization.
const images = `
images:
  - {name: ghcr.io/csi-driver-spiffe/csi-driver-spiffe, newTag: e2e}
  - {name: ghcr.io/csi-driver-spiffe/csi-driver-spiffe-approver, newTag: e2e}
`

// kustomize renders a kustomization in which MANIFESTS is the folder manifests.
func kustomize(t *testing.T, kustomization string) []byte {
	t.Helper()
	dir := t.TempDir()
	manifests, err := filepath.Abs(filepath.Join(repository, "manifests"))
	if err == nil {
		manifests, err = filepath.Rel(dir, manifests)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(strings.ReplaceAll(kustomization, "MANIFESTS", manifests)+images), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return runTool(t, nil, "kustomize", "build", dir)
}

// runTool returns what a program of bin/tools writes.
func runTool(t *testing.T, env []string, name string, args ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(repository, "bin/tools", name), args...)
	var stderr bytes.Buffer
	command.Env, command.Stderr = append(os.Environ(), env...), &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, stderr.String())
	}
	return out
}

// apply applies what a tool has rendered, with a change to the configuration.
func (w *world) apply(t *testing.T, rendered []byte, change func(config map[string]any)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rendered.yaml")
	if err := os.WriteFile(file, rendered, 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := testkit.ReadManifests(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if data, ok := object.Object["data"].(map[string]any); ok && object.GetKind() == "ConfigMap" {
			data["config.yaml"] = edit(t, data["config.yaml"].(string), change) //nolint:forcetypeassert // It is one file.
		}
	}
	if err := w.Apply(t.Context(), "", objects); err != nil {
		t.Fatal(err)
	}
}

func shortSVIDs(config map[string]any) {
	section(config, "certificate")["duration"] = svidLifetime.String()
}

func installWithKustomize(t *testing.T, w *world, n neighbour) {
	rendered := kustomize(t, strings.ReplaceAll(`
resources: [MANIFESTS/examples/kustomize/second-installation]
components: [MANIFESTS/components/admission]
patches:
  - target: {kind: ValidatingAdmissionPolicy, name: csi-driver-spiffe-requests}
    patch: |-
      - {op: replace, path: /spec/variables/0/expression, value: '[{"group":"cert-manager.io","kind":"ClusterIssuer","name":"ISSUER"}]'}
`, "ISSUER", n.issuer()))
	w.apply(t, rendered, shortSVIDs)
}

func installWithHelm(t *testing.T, _ *world, n neighbour) {
	home := t.TempDir()
	runTool(t, []string{"HOME=" + home, "XDG_CONFIG_HOME=" + home, "XDG_CACHE_HOME=" + home, "XDG_DATA_HOME=" + home},
		"helm", "upgrade", "--install", "csi-driver-spiffe-"+n.letter, filepath.Join(repository, "manifests/helm/csi-driver-spiffe"), "--namespace", n.namespace(),
		"--set", "app.name="+n.driver(), "--set", "app.trustDomain="+n.trustDomain(), "--set", "app.issuer.name="+n.issuer(), "--set", "config.volume.tmpfsPath="+n.tmpfs(),
		"--set", "app.certificateRequestDuration="+svidLifetime.String(), "--set", "image.tag=e2e", "--set", "admission.enabled=true")
}

func installWithJsonnet(t *testing.T, w *world, n neighbour) {
	library, err := filepath.Abs(filepath.Join(repository, "manifests/jsonnet/csi-driver-spiffe.libsonnet"))
	if err != nil {
		t.Fatal(err)
	}
	const registry = "ghcr.io/csi-driver-spiffe/"
	rendered := runTool(t, nil, "jsonnet", "-e", fmt.Sprintf(`(import %q).new({
		namespace: %q, admission: true, images: { driver: %q, approver: %q },
		config: { driver: { name: %q }, trustDomain: %q, issuerRef: { name: %q }, volume: { tmpfsPath: %q } },
	}).list`, library, n.namespace(), registry+"csi-driver-spiffe:e2e", registry+"csi-driver-spiffe-approver:e2e", n.driver(), n.trustDomain(), n.issuer(), n.tmpfs()))
	w.apply(t, rendered, shortSVIDs)
}

// volumesOfAll makes a pod with a volume of each driver, and waits until all of them
// have been renewed.
func volumesOfAll(t *testing.T, w *world) {
	start := time.Now()
	mounts := map[string]string{mountPath: issuer}
	w.createPod(t, newPod(t, "volumes-of-all", func(pod *corev1.Pod) {
		for _, n := range neighbours {
			volume, at := *pod.Spec.Volumes[0].DeepCopy(), "/var/run/secrets/"+n.letter
			volume.Name, volume.CSI.Driver = "spiffe-"+n.letter, n.driver()
			pod.Spec.Volumes = append(pod.Spec.Volumes, volume)
			pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: volume.Name, MountPath: at, ReadOnly: true})
			mounts[at] = n.issuer()
		}
	}))
	pod := w.waitPodsReady(t, sandbox, "app=volumes-of-all", 1)[0]
	w.report.timed("pod with volumes of four drivers", start, "running")
	pid, err := processOf(pod)
	if err != nil {
		t.Fatal(err)
	}
	for at, signer := range mounts {
		read := func() (podSVID, error) { return readVolume(fmt.Sprintf("/proc/%d/root%s", pid, at)) }
		first, err := read()
		if err != nil {
			t.Fatal(err)
		}
		id := "spiffe://" + strings.TrimPrefix(at, "/var/run/secrets/") + ".trust.domain/ns/sandbox/sa/example-app"
		if at == mountPath {
			id = strings.Replace(exampleID, "my.", "other.", 1)
		}
		// The root of the first one may have been replaced, and its name be a longer one.
		if first.id != id || !strings.HasPrefix(first.leaf.Issuer.CommonName, signer) {
			t.Errorf("%s: SVID of %s, signed by %s; want %s, signed by %s", at, first.id, first.leaf.Issuer.CommonName, id, signer)
		}
		eventually(t, 2*svidLifetime, "a renewal in "+at, func(context.Context) error {
			now, err := read()
			if err == nil && now.leaf.SerialNumber.Cmp(first.leaf.SerialNumber) == 0 {
				err = errors.New("it has the first one")
			}
			return err
		})
	}
	w.report.timed("the same pod, each volume renewed", start, "%d volumes of %d trust domains", len(mounts), len(mounts))
}

// sameDriverAgain installs the base into another namespace, under the driver name
// of the first installation: its driver refuses to start, and the first one goes on.
func sameDriverAgain(t *testing.T, w *world) {
	start := time.Now()
	const again = "spiffe-again"
	first := w.driverPod(t)
	watcher := watch(t, w.waitPodsReady(t, sandbox, "app=volumes-of-all", 1))
	w.createNamespace(t, again)
	w.apply(t, kustomize(t, "namespace: "+again+"\nresources: [MANIFESTS/base]\n"), func(config map[string]any) {
		config["issuerRef"].(map[string]any)["name"] = issuer //nolint:forcetypeassert // It is a section.
	})
	refused := troubleshooting.Row("is in use: another installation of csi-driver-spiffe holds it on this node: pod … has locked …; give this installation …")
	eventually(t, patience, "the other driver refused", func(ctx context.Context) error {
		pods, err := w.pods(ctx, again, driverPods)
		if err != nil || len(pods) != 1 || len(pods[0].Status.ContainerStatuses) != 1 {
			return fmt.Errorf("%d pods, %w", len(pods), err)
		}
		status := pods[0].Status.ContainerStatuses[0]
		for _, state := range []corev1.ContainerState{status.State, status.LastTerminationState} {
			if ended := state.Terminated; ended != nil && ended.ExitCode == 1 && refused.In(ended.Message) {
				refused.Seen(t, ended.Message)
				if !strings.Contains(ended.Message, installed+"/"+first.Name) {
					t.Errorf("it does not name the pod %s/%s: %s", installed, first.Name, ended.Message)
				}
				return nil
			}
		}
		return fmt.Errorf("%+v", status)
	})
	watcher.waitRenewals(t)
	if now := w.driverPod(t); now.UID != first.UID || now.Status.ContainerStatuses[0].RestartCount != first.Status.ContainerStatuses[0].RestartCount {
		t.Errorf("the first driver was restarted")
	}
	w.report.timed("the same driver name installed once more, in another namespace", start, "refused; %s", watcher.end(t))
	if err := w.Kubernetes.AppsV1().DaemonSets(again).Delete(t.Context(), "csi-driver-spiffe", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Kubernetes.AppsV1().Deployments(again).Delete(t.Context(), "csi-driver-spiffe-approver", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.requireRights(t)
}

// requireRights asserts that the bindings of the first installation are for its own
// ServiceAccounts.
func (w *world) requireRights(t *testing.T) {
	t.Helper()
	for _, name := range []string{"csi-driver-spiffe", "csi-driver-spiffe-approver"} {
		binding, err := w.Kubernetes.RbacV1().ClusterRoleBindings().Get(t.Context(), name+"."+installed, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(binding.Subjects, func(s rbacv1.Subject) bool { return s.Namespace == installed && s.Name == name }) {
			t.Errorf("%s is for %+v", binding.Name, binding.Subjects)
		}
	}
}
