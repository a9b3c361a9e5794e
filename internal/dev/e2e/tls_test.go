// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// startTLS starts a server and a client that speak mutual TLS with their
// SVIDs, a new connection every 50 ms.
func startTLS(t *testing.T, w *world) {
	w.createPod(t, newPod(t, "tls-server", func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Command = []string{"/app", "serve", mountPath, ":8443"}
		pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8443)}},
			PeriodSeconds: 1,
		}
	}))
	server := w.waitPodsReady(t, sandbox, "app=tls-server", 1)[0]
	w.createPod(t, newPod(t, "tls-client", func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Command = []string{"/app", "call", mountPath, fmt.Sprintf("https://%s:8443", server.Status.PodIP)}
	}))
	w.waitPodsReady(t, sandbox, "app=tls-client", 1)
}

// moreCalls waits until the client has made so many more requests, or has failed.
func (w *world) moreCalls(t *testing.T, more int) {
	t.Helper()
	before := w.calls(t)
	eventually(t, patience, fmt.Sprintf("%d more requests of the client", more), func(context.Context) error {
		if now := w.calls(t); now.Failed == 0 && now.OK < before.OK+more {
			return fmt.Errorf("%d, there were %d", now.OK, before.OK)
		}
		return nil
	})
}

// A callReport is a line of the client's log; see command app.
type callReport struct {
	OK, Failed       int
	Errors           []string
	Own, Peer, Roots int
}

// calls sums up the client's log: the counts of its last line, the errors of all.
func (w *world) calls(t *testing.T) callReport {
	t.Helper()
	log, err := w.Kubernetes.CoreV1().Pods(sandbox).GetLogs("tls-client", &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var sum callReport
	var failures []string
	for line := range bytes.Lines(log) {
		sum = callReport{}
		if err := json.Unmarshal(line, &sum); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		failures = append(failures, sum.Errors...)
	}
	sum.Errors = failures
	return sum
}

// rotateRoot puts another root in the place of the issuer's, in the order in
// which nobody notices: first into the bundle of everyone, then to the issuer, and
// when nothing is signed by the old one any more, that leaves the bundle.
func rotateRoot(t *testing.T, w *world) {
	const next = issuer + "-next"
	pods := w.waitPodsReady(t, sandbox, bystanders, 3)
	watcher, start := watch(t, pods), time.Now()

	certificates := w.CertManager.CertmanagerV1().Certificates(installed)
	root, err := certificates.Get(t.Context(), issuer, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := root.Spec
	spec.SecretName, spec.CommonName = next, next
	if _, err := certificates.Create(t.Context(), &cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Name: next}, Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.approveRoot(t)
	oldRoot, newRoot := w.rootOf(t, issuer), w.rootOf(t, next)

	w.writeRoots(t, bytes.Join([][]byte{oldRoot, newRoot}, []byte("\n")))
	w.everyBundle(t, oldRoot, newRoot)
	issuers := w.CertManager.CertmanagerV1().ClusterIssuers()
	got, err := issuers.Get(t.Context(), issuer, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got.Spec.CA.SecretName = next
	if _, err := issuers.Update(t.Context(), got, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, selector := range []string{bystanders, "app=tls-server", "app=tls-client"} {
		w.everySVID(t, selector, "SVIDs signed with the new root", func(d podSVID) error {
			if d.leaf.Issuer.CommonName != next {
				return errors.New("signed by " + d.leaf.Issuer.CommonName)
			}
			return nil
		})
	}
	w.writeRoots(t, newRoot)
	w.everyBundle(t, newRoot)
	w.noRestarts(t, pods)
	w.report.timed("root rotated", start, "the bundle follows; %s", watcher.end(t))
}

// rootOf waits for the CA certificate in a Secret.
func (w *world) rootOf(t *testing.T, secret string) []byte {
	t.Helper()
	var root []byte
	eventually(t, patience, "the CA certificate in Secret "+secret, func(ctx context.Context) error {
		got, err := w.Kubernetes.CoreV1().Secrets(installed).Get(ctx, secret, metav1.GetOptions{})
		if err == nil {
			root = bytes.TrimSpace(got.Data["ca.crt"])
		}
		if err == nil && len(root) == 0 {
			err = errors.New("it is empty")
		}
		return err
	})
	return root
}

// everyBundle waits until all running pods have these certificates in ca.crt, and
// no other.
func (w *world) everyBundle(t *testing.T, roots ...[]byte) {
	t.Helper()
	for _, selector := range []string{bystanders, "app=tls-server", "app=tls-client"} {
		w.everySVID(t, selector, fmt.Sprintf("%d certificates in ca.crt", len(roots)), func(d podSVID) error {
			got := splitPEM(d.bundle)
			if len(got) != len(roots) {
				return fmt.Errorf("there are %d", len(got))
			}
			for _, root := range roots {
				if !bytes.Contains(d.bundle, root) {
					return errors.New("one is missing")
				}
			}
			return nil
		})
	}
}

// endTLS reads what the client has seen of all that went before.
func endTLS(t *testing.T, w *world, start time.Time) {
	// With the old root out of the bundle, for longer than SVIDs last.
	w.moreCalls(t, 1000)
	for _, selector := range []string{"app=tls-client", "app=tls-server"} {
		for _, pod := range w.waitPodsReady(t, sandbox, selector, 1) {
			if n := pod.Status.ContainerStatuses[0].RestartCount; n > 0 {
				t.Errorf("%s was restarted %d times, and what it has seen before is lost", pod.Name, n)
			}
		}
	}
	sum := w.calls(t)
	for _, message := range sum.Errors {
		t.Error(message)
	}
	if sum.Failed > 0 || sum.OK == 0 || sum.Own < 3 || sum.Peer < 3 || sum.Roots < 3 {
		t.Errorf("%+v", sum)
	}
	w.report.timed("mutual TLS through all faults above and the rotation", start,
		"%d requests, each with a handshake: %d failed; client had %d certificates and %d bundles, server %d certificates",
		sum.OK+sum.Failed, sum.Failed, sum.Own, sum.Roots, sum.Peer)
	w.deletePods(t, sandbox, "app=tls-client")
	w.deletePods(t, sandbox, "app=tls-server")
}
