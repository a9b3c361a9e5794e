// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const exampleID = "spiffe://my.trust.domain/ns/sandbox/sa/example-app"

// walkthrough is that of the README.
func walkthrough(t *testing.T, w *world) {
	start := time.Now()
	step(t, "issuer", w.createIssuer)
	step(t, "install", w.install)
	w.report.timed("issuer and installation, to the last pod ready", start, "")
	step(t, "example app", func(t *testing.T) { exampleApp(t, w) })
	step(t, "openssl", func(t *testing.T) { openssl(t, w) })
	step(t, "fs-group", func(t *testing.T) { fsGroup(t, w) })
	step(t, "CA bundle switched on", func(t *testing.T) { bundleSwitchedOn(t, w) })
	step(t, "trust domain changed", func(t *testing.T) { trustDomainChanged(t, w) })
	step(t, "pod deleted", func(t *testing.T) { podDeleted(t, w) })
}

func exampleApp(t *testing.T, w *world) {
	start := time.Now()
	around, pod := readExample(t, "example-app.yaml")
	if err := w.Apply(t.Context(), sandbox, around); err != nil {
		t.Fatal(err)
	}
	w.createDeployment(t, pod, 5)
	serials := map[string]bool{}
	for _, pod := range w.waitPodsReady(t, sandbox, "app=example-app", 5) {
		d, err := readSVID(pod)
		if err != nil || d.id != exampleID {
			t.Fatalf("%s: SVID of %q, %v", pod.Name, d.id, err)
		}
		if d.bundle != nil {
			t.Errorf("%s has a ca.crt, which is not switched on", pod.Name)
		}
		serials[d.leaf.SerialNumber.String()] = true
	}
	if len(serials) != 5 {
		t.Errorf("%d different SVIDs, want 5", len(serials))
	}
	w.report.timed("example app, 5 replicas", start, "5 different SVIDs of `%s`", exampleID)
}

// openssl is `kubectl exec … cat tls.crt | openssl x509 -noout -text`.
func openssl(t *testing.T, w *world) {
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	pods := w.waitPodsReady(t, sandbox, "app=example-app", 5)
	certificate, err := w.exec(t.Context(), sandbox, pods[0].Name, "cat", mountPath+"/tls.crt")
	if err != nil {
		t.Fatal(err)
	}
	show := exec.CommandContext(t.Context(), program, "x509", "-noout", "-text")
	show.Stdin = strings.NewReader(certificate)
	out, err := show.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"URI:" + exampleID, "Issuer: CN = csi-driver-spiffe-ca"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("openssl does not say %q:\n%s", want, out)
		}
	}
}

// fsGroup reads the files in a container that is not root.
func fsGroup(t *testing.T, w *world) {
	around, byAttribute := readExample(t, "fs-group-app.yaml")
	if err := w.Apply(t.Context(), sandbox, around); err != nil {
		t.Fatal(err)
	}
	byAttribute.Labels = map[string]string{"app": "fs-group"}
	bySecurityContext := byAttribute.DeepCopy()
	bySecurityContext.Name = "fs-group-by-security-context"
	bySecurityContext.Spec.SecurityContext.FSGroup = new(int64(789))
	for i := range bySecurityContext.Spec.Volumes {
		bySecurityContext.Spec.Volumes[i].CSI.VolumeAttributes = nil
	}
	ofRoot := bySecurityContext.DeepCopy()
	ofRoot.Name = "fs-group-of-root"
	ofRoot.Spec.SecurityContext.FSGroup = new(int64(0))
	w.createPod(t, byAttribute)
	w.createPod(t, bySecurityContext)
	w.createPod(t, ofRoot)
	w.waitPodsReady(t, sandbox, "app=fs-group", 3)
	for pod, want := range map[string]string{byAttribute.Name: "0440 0 456 ", bySecurityContext.Name: "0440 0 789 ", ofRoot.Name: "0440 0 0 "} {
		key, err := w.exec(t.Context(), sandbox, pod, "cat", mountPath+"/tls.key")
		if err != nil || !strings.HasPrefix(key, "-----BEGIN PRIVATE KEY") {
			t.Errorf("%s: user 123 cannot read its key: %v", pod, err)
		}
		mode, err := w.exec(t.Context(), sandbox, pod, "stat", mountPath+"/tls.key")
		if err != nil || !strings.HasPrefix(mode, want) {
			t.Errorf("%s: mode, owner and group of the key are %q, %v; want %q", pod, mode, err, want)
		}
		w.report.add("user 123, "+pod, 0, "reads its files: `"+strings.TrimSpace(mode)+"`")
	}
	w.deletePods(t, sandbox, "app=fs-group")
	unreadable(t, w, byAttribute.DeepCopy())
}

// everySVID waits until the SVIDs of all pods with a label are as wanted.
func (w *world) everySVID(t *testing.T, selector, what string, check func(podSVID) error) {
	t.Helper()
	eventually(t, 2*time.Minute, what, func(ctx context.Context) error {
		pods, err := w.pods(ctx, sandbox, selector)
		if err != nil {
			return err
		}
		for _, pod := range pods {
			d, err := readSVID(pod)
			if err == nil {
				err = check(d)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", pod.Name, err)
			}
		}
		return nil
	})
}

// restarts are those of all containers of pods, which are to have none.
func (w *world) noRestarts(t *testing.T, pods []corev1.Pod) {
	t.Helper()
	for _, pod := range pods {
		now, err := w.Kubernetes.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err != nil || now.UID != pod.UID || now.Status.ContainerStatuses[0].RestartCount != pod.Status.ContainerStatuses[0].RestartCount {
			t.Errorf("%s was restarted: %v", pod.Name, err)
		}
	}
}

func bundleSwitchedOn(t *testing.T, w *world) {
	pods := w.waitPodsReady(t, sandbox, "app=example-app", 5)
	serials := func() (all []string) {
		for _, pod := range pods {
			d, err := readSVID(pod)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, d.leaf.SerialNumber.String())
		}
		return all
	}
	before, watcher, start := serials(), watch(t, pods), time.Now()
	w.editConfig(t, func(config map[string]any) {
		section(config, "trustBundle")["path"] = "/trust-bundle/ca.crt"
	})
	followed := time.Since(start)
	w.everySVID(t, "app=example-app", "ca.crt in running pods", func(d podSVID) error {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(d.bundle) {
			return errors.New("no ca.crt")
		}
		_, err := d.leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		return err
	})
	if after := serials(); !slices.Equal(after, before) {
		t.Errorf("other SVIDs: %v, before %v", after, before)
	}
	w.noRestarts(t, pods)
	w.report.timed("CA bundle switched on in the ConfigMap", start,
		"`ca.crt` beside the same SVID in all 5 running pods; driver and approvers had the file after %v; %s",
		followed.Round(100*time.Millisecond), watcher.end(t))
	// Short, for what follows.
	w.editConfig(t, func(config map[string]any) {
		section(config, "certificate")["duration"] = svidLifetime.String()
		section(config, "rollout")["reissueWindow"] = "2s"
	})
}

func trustDomainChanged(t *testing.T, w *world) {
	pods := w.waitPodsReady(t, sandbox, "app=example-app", 5)
	watcher := watch(t, pods)
	start := time.Now()
	w.editConfig(t, func(config map[string]any) { config["trustDomain"] = "other.trust.domain" })
	w.everySVID(t, "app=example-app", "SVIDs of the new trust domain", func(d podSVID) error {
		if want := strings.Replace(exampleID, "my.", "other.", 1); d.id != want {
			return fmt.Errorf("SVID of %s", d.id)
		}
		return nil
	})
	w.noRestarts(t, pods)
	w.report.timed("trust domain changed in the ConfigMap", start, "SVIDs of the new one; %s", watcher.end(t))
}

// podDeleted looks for what is left of a pod on the node.
func podDeleted(t *testing.T, w *world) {
	start := time.Now()
	pods := w.waitPodsReady(t, sandbox, "app=example-app", 5)
	for _, pod := range pods {
		// A mount in the kubelet's folder, the volume in the tmpfs, the pod's folder.
		traces := strings.Join(w.traces(t, pod), "\n")
		for _, place := range []string{"kubernetes.io~csi/", "/run/csi-driver-spiffe/", "/var/lib/kubelet/pods/" + string(pod.UID)} {
			if !strings.Contains(traces, place) {
				t.Fatalf("nothing in %s of running pod %s: this test looks in the wrong places: %s", place, pod.Name, traces)
			}
		}
	}
	w.deleteDeployment(t, sandbox, "example-app")
	for _, pod := range pods {
		eventually(t, patience, "nothing left of pod "+pod.Name, func(context.Context) error {
			if left := w.traces(t, pod); len(left) > 0 {
				return fmt.Errorf("%v", left)
			}
			return nil
		})
	}
	w.report.timed("5 pods deleted", start, "nothing of them is left on the node: no mount, no folder, no file")
}

// splitPEM gives the certificates in PEM.
func splitPEM(data []byte) [][]byte {
	var all [][]byte
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return all
		}
		all = append(all, bytes.TrimSpace(pem.EncodeToMemory(block)))
		data = rest
	}
}
