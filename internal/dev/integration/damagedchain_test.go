// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// An issuer returns a chain whose intermediates are joined by a space. A pod does not
// start with what can be read of it, and a running one keeps the SVID that it has until
// there is a whole chain.
func TestDamagedChainIsNotDelivered(t *testing.T) {
	w := newWorld(t, func(*world) string { return "certificate: {duration: 30s}" })
	w.setIssuer(silentIssuer())
	row := troubleshooting.Row("issuer returned a certificate that is not the SVID that was asked for: status.certificate: …")

	starting := w.pod("starting")
	err := w.publishAnswered(starting, w.damagedChain)
	row.Seen(t, fmt.Sprint(err))

	running := w.pod("running")
	w.check(w.publishAnswered(running, w.wholeChain))
	target := w.kubelet.TargetPath(running, testkit.VolumeName)
	good := w.generation(target)
	w.answer(running, w.damagedChain)
	w.eventually("the renewal has failed", func() bool { return w.list()["running"].LastError != "" })
	row.Seen(t, w.list()["running"].LastError)
	if now := w.generation(target); now != good {
		t.Fatalf("the SVID of the running pod was replaced: %s, then %s", good, now)
	}
	w.answer(running, w.wholeChain)
	w.eventually("the SVID is renewed", func() bool { return w.generation(target) != good })
	if n := len(w.readSVID(target).Certificates); n != 2 {
		t.Errorf("%d certificates, want 2", n)
	}
}

// publishAnswered publishes a volume for a pod, whose request is answered.
func (w *world) publishAnswered(pod *corev1.Pod, certificate func(cmapi.CertificateRequestSpec) []byte) error {
	w.t.Helper()
	published := make(chan error, 1)
	go func() {
		_, err := w.kubelet.Publish(w.t.Context(), pod, testkit.VolumeName)
		published <- err
	}()
	w.answer(pod, certificate)
	return <-published
}

// answer waits until a pod has an approved request that is open, and sets its
// status.certificate, as an issuer does.
func (w *world) answer(pod *corev1.Pod, certificate func(cmapi.CertificateRequestSpec) []byte) {
	w.t.Helper()
	w.eventually("a request of "+pod.Name+" is approved, and answered", func() bool {
		all := w.requests()
		i := slices.IndexFunc(all, func(r cmapi.CertificateRequest) bool {
			return r.OwnerReferences[0].UID == pod.UID && isOpen(r) && apiutil.CertificateRequestIsApproved(&r)
		})
		if i < 0 {
			return false
		}
		return w.issue(w.t.Context(), &all[i], certificate(all[i].Spec)) == nil
	})
}

// issue gives a request its certificate, as an issuer does.
func (w *world) issue(ctx context.Context, request *cmapi.CertificateRequest, certificate []byte) error {
	request.Status.Certificate = certificate
	apiutil.SetCertificateRequestCondition(request, cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, "signed")
	_, err := w.CertManager.CertmanagerV1().CertificateRequests(request.Namespace).UpdateStatus(ctx, request, metav1.UpdateOptions{})
	return err
}

func (w *world) wholeChain(spec cmapi.CertificateRequestSpec) []byte {
	return slices.Concat(w.signed(spec, func(*x509.Certificate) {}), w.ca.CertificatePEM)
}

// damagedChain is a leaf, a line break, and two certificates joined by a space.
func (w *world) damagedChain(spec cmapi.CertificateRequestSpec) []byte {
	joined := strings.TrimSpace(string(w.ca.CertificatePEM)) + " " + string(w.ca.CertificatePEM)
	return slices.Concat(w.signed(spec, func(*x509.Certificate) {}), []byte(joined))
}
