// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// While one namespace's issuer does not sign, all its renewals wait, each with one
// open request, and more than may be at work at the same time. Pods of another
// namespace on the node have theirs all the same.
func TestBrokenIssuerHoldsUpNoOtherNamespace(t *testing.T) {
	const slots, broken = 2, 4
	w := prepare(t, func(*world) string { return "issuerRef: {name: own-ca, kind: Issuer}" },
		func(*world) string { return "certificate: {duration: 40s, renewBeforePercentage: 50}" },
		func(*world) string {
			return fmt.Sprintf("driver: {httpAddress: '', publishTimeout: 1m, maxConcurrentRenewals: %d}", slots)
		})
	healthy := w.withOwnIssuers("own-ca")
	w.startApprover()
	w.startDriver()
	targets := map[string]string{}
	for i := range broken {
		w.publish(w.pod(fmt.Sprintf("broken-%d", i)))
	}
	for i := range 2 {
		pod, err := w.CreatePod(t.Context(), healthy, fmt.Sprintf("healthy-%d", i), w.node)
		w.check(err)
		targets[w.publish(pod)] = ""
	}
	defer w.watchOpenRequests()()
	w.check(w.CertManager.CertmanagerV1().Issuers(w.workload.Namespace).Delete(t.Context(), "own-ca", metav1.DeleteOptions{}))
	// renewed waits until all healthy pods have another document than they have now.
	renewed := func() bool {
		all := true
		for target, before := range targets {
			if left := time.Until(w.readLeaf(target).NotAfter); left <= 0 {
				t.Fatalf("the document of a healthy pod has expired; %d requests wait for the broken issuer", w.openRequests())
			}
			all = all && w.generation(target) != before
		}
		return all
	}
	w.eventually("every broken pod has a request", func() bool { renewed(); return w.openRequests() == broken })
	for range 2 {
		for target := range targets {
			targets[target] = w.generation(target)
		}
		w.eventually("the healthy pods are renewed", renewed)
	}
	if open := w.openRequests(); open != broken {
		t.Errorf("%d requests wait for the broken issuer, want %d", open, broken)
	}
}

// withOwnIssuers has the pods' namespace and another, which it makes, have an Issuer
// each, of which the driver may ask and which the approver may approve.
func (w *world) withOwnIssuers(name string) (other testkit.Workload) {
	w.t.Helper()
	other = w.workload
	other.Namespace += "-b"
	w.check(w.CreateNamespace(w.t.Context(), other))
	var signers []string
	for _, namespace := range []string{w.workload.Namespace, other.Namespace} {
		w.check(w.CreateIssuer(w.t.Context(), namespace, name, w.ca))
		signers = append(signers, "issuers.cert-manager.io/"+namespace+"."+name)
	}
	var err error
	w.installation, err = w.Install(w.t.Context(), repository, "-"+w.issuer, signers...)
	w.check(err)
	return other
}

// openRequests counts those of the pods' namespace.
func (w *world) openRequests() (open int) {
	w.t.Helper()
	for _, request := range w.requests() {
		if isOpen(request) {
			open++
		}
	}
	return open
}
