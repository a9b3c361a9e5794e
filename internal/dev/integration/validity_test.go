// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// externalIssuer signs every request of a world that is approved, as external issuers
// do, and changes each certificate as a test wants it. It stands in for issuers whose clock
// is another, which cannot be had here.
type externalIssuer struct {
	change atomic.Pointer[func(*x509.Certificate)]
	signed atomic.Int64
}

func (i *externalIssuer) set(change func(*x509.Certificate)) { i.change.Store(&change) }

// externalIssuer starts one, which ends with the test.
func (w *world) externalIssuer(change func(*x509.Certificate)) *externalIssuer {
	w.t.Helper()
	w.setIssuer(silentIssuer()) // this one signs in its place
	issuer, requests := &externalIssuer{}, w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace)
	issuer.set(change)
	events, err := requests.Watch(context.Background(), metav1.ListOptions{})
	w.check(err)
	done := make(chan struct{})
	w.t.Cleanup(func() { events.Stop(); <-done })
	go func() {
		defer close(done)
		for event := range events.ResultChan() {
			request, ok := event.Object.(*cmapi.CertificateRequest)
			if !ok || !apiutil.CertificateRequestIsApproved(request) || len(request.Status.Certificate) > 0 {
				continue
			}
			if w.issue(context.Background(), request, w.signed(request.Spec, *issuer.change.Load())) == nil {
				issuer.signed.Add(1)
			}
		}
	}()
	return issuer
}

// shift moves the validity of a certificate.
func shift(by time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = c.NotBefore.Add(by), c.NotAfter.Add(by) }
}

func dateBack(by time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-by) }
}

// AWS Private CA dates certificates back by an hour. The renewals of such certificates come
// when they come of others, also after a restart of the driver.
func TestRenewalsOfAnIssuerThatDatesBack(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 30m}" })
	w.startApprover()
	stop := w.startDriver()
	issuer := w.externalIssuer(dateBack(time.Hour))
	const volumes = 5
	began := time.Now()
	w.publishMany(volumes)
	for _, restarted := range []bool{false, true} {
		for pod, v := range w.list() {
			if v.NextRenewal.Sub(began) < 10*time.Minute || time.Until(v.NextRenewal) > 20*time.Minute || v.LastError != "" {
				t.Errorf("restarted: %t: the renewal of %s comes after %s, %q", restarted, pod, v.NextRenewal.Sub(began), v.LastError)
			}
		}
		if !restarted {
			stop()
			w.startDriver()
		}
	}
	if n := issuer.signed.Load(); n != volumes {
		t.Errorf("%d requests for %d volumes", n, volumes)
	}
	if log := w.log.String(); strings.Contains(log, "signed for less") || strings.Contains(log, "signed for more") {
		t.Error("the log says that the issuer signs for another time than requested")
	}
}

// A valid SVID stays when the issuer signs what is not valid now.
func TestValidSVIDIsNotReplacedByOneThatIsNotValid(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*x509.Certificate)
		says   string
		row    troubleshooting.Row
	}{
		{"expired", shift(-2 * time.Hour), "it expired at ", troubleshooting.Row("issuer returned a certificate that is not the SVID that was asked for: it expired at …")},
		{"not valid for an hour", shift(time.Hour), "the issuer's clock is ahead by ", troubleshooting.Row("the certificate is not valid yet: the issuer's clock is ahead by …")},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, func(*world) string { return "certificate: {duration: 20s}" })
			issuer := w.externalIssuer(dateBack(0))
			target := w.publish(w.pod("web-0"))
			good := w.generation(target)
			issuer.set(row.change)
			w.eventually("people are told", func() bool { return strings.Contains(w.list()["web-0"].LastError, row.says) })
			row.row.Seen(t, w.list()["web-0"].LastError)
			if leaf := w.readLeaf(target); w.generation(target) != good && time.Now().Before(leaf.NotAfter) {
				t.Errorf("the valid SVID was replaced by one that is valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
			}
			issuer.set(dateBack(0))
			w.eventually("it is renewed when the issuer is well", func() bool {
				leaf, now := w.readLeaf(target), time.Now()
				return w.generation(target) != good && now.Before(leaf.NotAfter) && now.After(leaf.NotBefore)
			})
		})
	}
}

// An issuer whose clock is ahead by seconds, which NTP allows: no pod ever has an SVID that
// is not valid yet, and nothing is requested twice.
func TestSVIDIsDeliveredWhenItIsValid(t *testing.T) {
	const ahead = 3 * time.Second
	w := newWorld(t, func(*world) string { return "certificate: {duration: 20s}" })
	issuer := w.externalIssuer(shift(ahead))
	target := w.publish(w.pod("web-0"))
	if leaf := w.readLeaf(target); time.Now().Before(leaf.NotBefore) {
		t.Errorf("published %s before it is valid", time.Until(leaf.NotBefore))
	}
	first, seen := w.generation(target), ""
	for renewed := 0; renewed < 2; {
		now := w.generation(target)
		if now == first || now == seen {
			w.eventually("it is renewed", func() bool { now = w.generation(target); return now != first && now != seen })
		}
		if leaf := w.readLeaf(target); time.Now().Before(leaf.NotBefore) {
			t.Errorf("renewed %s before it is valid", time.Until(leaf.NotBefore))
		}
		seen = now
		renewed++
	}
	if n := issuer.signed.Load(); n > 4 {
		t.Errorf("%d requests for a publish and two renewals", n)
	}
	if v := w.list()["web-0"]; v.RenewalFailures > 0 || v.LastError != "" {
		t.Errorf("%d failures, %q", v.RenewalFailures, v.LastError)
	}
}

// A first SVID that is valid in an hour is not delivered, the kubelet is told why at once,
// and asking again makes no other request.
func TestFirstSVIDThatIsFarAhead(t *testing.T) {
	w := newWorld(t)
	issuer := w.externalIssuer(shift(time.Hour))
	pod := w.pod("web-0")
	for range 3 {
		_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		troubleshooting.Row("the certificate is not valid yet: the issuer's clock is ahead by …").Seen(t, fmt.Sprint(err))
		if text := fmt.Sprint(err); !strings.Contains(text, "59m") && !strings.Contains(text, "1h0m0s") || strings.Contains(text, "signed for less") {
			t.Errorf("got %v", err)
		}
	}
	if n := issuer.signed.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}
