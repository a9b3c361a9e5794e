// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

const (
	driverPods   = "app.kubernetes.io/component=driver"
	approverPods = "app.kubernetes.io/component=approver"
	// rootsSecret holds the trust bundle that the driver reads.
	rootsSecret = "spiffe-roots"
	// issuer is the ClusterIssuer of the configuration, and the Certificate and
	// Secret of its key.
	issuer = "csi-driver-spiffe-ca"
)

// createIssuer makes the ClusterIssuer with a self-signed root, and approves the
// root's own request, as the README tells.
func (w *world) createIssuer(t *testing.T) {
	objects, err := testkit.ReadManifests(filepath.Join(repository, "manifests/examples/clusterissuer.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Apply(t.Context(), installed, objects); err != nil {
		t.Fatal(err)
	}
	w.approveRoot(t)
	eventually(t, patience, "the ClusterIssuer ready", func(ctx context.Context) error {
		got, err := w.CertManager.CertmanagerV1().ClusterIssuers().Get(ctx, issuer, metav1.GetOptions{})
		if err == nil && !apiutil.IssuerHasCondition(got, cmapi.IssuerCondition{Type: cmapi.IssuerConditionReady, Status: cmmeta.ConditionTrue}) {
			err = fmt.Errorf("%+v", got.Status.Conditions)
		}
		return err
	})
}

// approveRoot approves the request that the root's Certificate has made, by hand,
// as `cmctl approve` does.
func (w *world) approveRoot(t *testing.T) {
	t.Helper()
	requests := w.CertManager.CertmanagerV1().CertificateRequests(installed)
	eventually(t, patience, "the root's own request approved", func(ctx context.Context) error {
		list, err := requests.List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, request := range list.Items {
			if !strings.HasPrefix(request.Name, issuer) || apiutil.CertificateRequestIsApproved(&request) {
				continue
			}
			apiutil.SetCertificateRequestCondition(&request, cmapi.CertificateRequestConditionApproved, cmmeta.ConditionTrue, "ByHand", "It is our own root.")
			_, err := requests.UpdateStatus(ctx, &request, metav1.UpdateOptions{})
			return err
		}
		return errors.New("it has not been made")
	})
}

// install renders the example's kustomization with the images that were built,
// and applies it. The trust bundle is read from a Secret of its own, as a program
// that distributes roots would fill it, and is not switched on yet.
func (w *world) install(t *testing.T) {
	root, err := w.Kubernetes.CoreV1().Secrets(installed).Get(t.Context(), issuer, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.writeRoots(t, root.Data["ca.crt"])
	objects, err := testkit.ReadManifests(renderManifests(t, "e2e"))
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if object.GetKind() == "ConfigMap" {
			data := object.Object["data"].(map[string]any)
			data["config.yaml"] = edit(t, data["config.yaml"].(string), func(config map[string]any) { delete(config, "trustBundle") })
		}
	}
	if err := w.Apply(t.Context(), installed, objects); err != nil {
		t.Fatal(err)
	}
	w.waitPodsReady(t, installed, driverPods, 1)
	w.waitPodsReady(t, installed, approverPods, 2)
}

// renderManifests has kustomize render manifests/examples/kustomize with the
// images of a tag and with the admission policies, and returns the file.
func renderManifests(t *testing.T, tag string) string {
	t.Helper()
	dir := t.TempDir()
	top, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	example, err := filepath.Rel(dir, filepath.Join(top, "manifests/examples/kustomize"))
	if err != nil {
		t.Fatal(err)
	}
	kustomization := strings.NewReplacer("EXAMPLE", example, "TAG", tag, "ROOTS", rootsSecret, "ISSUER", issuer).Replace(`
resources: [EXAMPLE]
components: [EXAMPLE/../../components/admission]
images:
  - {name: ghcr.io/csi-driver-spiffe/csi-driver-spiffe, newTag: TAG}
  - {name: ghcr.io/csi-driver-spiffe/csi-driver-spiffe-approver, newTag: TAG}
patches:
  - target: {kind: ValidatingAdmissionPolicy, name: csi-driver-spiffe-requests}
    patch: |-
      - op: replace
        path: /spec/variables/0/expression
        value: '[{"group":"cert-manager.io","kind":"ClusterIssuer","name":"ISSUER"}]'
  - target: {kind: DaemonSet}
    patch: |-
      apiVersion: apps/v1
      kind: DaemonSet
      metadata: {name: csi-driver-spiffe}
      spec:
        template:
          spec:
            volumes:
              - {name: trust-bundle, secret: {secretName: ROOTS}}
`)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "rendered.yaml")
	build := exec.CommandContext(t.Context(), filepath.Join(top, "bin/tools/kustomize"), "build", dir, "-o", out)
	if message, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, message)
	}
	return out
}

// writeRoots makes the trust bundle what is given.
func (w *world) writeRoots(t *testing.T, pem []byte) {
	t.Helper()
	secret := map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": rootsSecret},
		"data": map[string][]byte{"ca.crt": pem},
	}
	patch, err := yaml.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Kubernetes.CoreV1().Secrets(installed).Patch(t.Context(), rootsSecret, types.ApplyPatchType, patch,
		metav1.PatchOptions{FieldManager: "e2e"})
	if err != nil {
		t.Fatal(err)
	}
}

// edit changes a configuration file.
func edit(t *testing.T, file string, change func(config map[string]any)) string {
	t.Helper()
	var config map[string]any
	if err := yaml.Unmarshal([]byte(file), &config); err != nil {
		t.Fatal(err)
	}
	change(config)
	out, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// section is a section of a configuration file, made if it is not there.
func section(config map[string]any, name string) map[string]any {
	got, ok := config[name].(map[string]any)
	if !ok {
		got = map[string]any{}
		config[name] = got
	}
	return got
}

// editConfig edits the ConfigMap, and waits until all three pods follow it, each
// in the way that the metrics say.
func (w *world) editConfig(t *testing.T, change func(config map[string]any)) {
	t.Helper()
	maps := w.Kubernetes.CoreV1().ConfigMaps(installed)
	config, err := maps.Get(t.Context(), "csi-driver-spiffe", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := w.hashes(t)
	config.Data["config.yaml"] = edit(t, config.Data["config.yaml"], change)
	if _, err := maps.Update(t.Context(), config, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, "driver and approvers on the same new configuration", func(context.Context) error {
		after := w.hashes(t)
		different := map[string]bool{}
		for pod, hash := range after {
			different[hash] = true
			if hash == before[pod] || hash == "" {
				return fmt.Errorf("%s has %q", pod, hash)
			}
		}
		if len(after) != 3 || len(different) != 1 {
			return fmt.Errorf("%v", after)
		}
		return nil
	})
}

var hashMetric = regexp.MustCompile(`(?m)^csi_driver_spiffe_config_info\{hash="([0-9a-f]+)"`)

// hashes are those of the configurations that run, by pod.
func (w *world) hashes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for selector, port := range map[string]int{driverPods: 9402, approverPods: 9403} {
		pods, err := w.pods(t.Context(), installed, selector)
		if err != nil {
			t.Fatal(err)
		}
		for _, pod := range pods {
			found[pod.Name] = ""
			metrics, err := metrics(t.Context(), pod, port)
			if match := hashMetric.FindStringSubmatch(metrics); err == nil && match != nil {
				found[pod.Name] = match[1]
			}
		}
	}
	return found
}

// metrics are what a pod says of itself.
func metrics(ctx context.Context, pod corev1.Pod, port int) (string, error) {
	return get(ctx, pod, port, "/metrics")
}

// get is what a pod answers, whatever the code.
func get(ctx context.Context, pod corev1.Pod, port int, path string) (string, error) {
	url := fmt.Sprintf("http://%s:%d%s", pod.Status.PodIP, port, path)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := (&http.Client{Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return string(data), err
}
