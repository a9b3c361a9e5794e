// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// A request that is approved and signed while nobody waits for it may be found when
// its document has expired. A pod starts with another, or is renewed by another.
func TestDocumentThatCameTooLateIsNotUsed(t *testing.T) {
	for _, test := range []struct {
		name    string
		live    bool // the volume is published already, and due
		restart bool // by the next process; else by the one that made the request
		away    bool // which hears of it only then, while the kubelet waits
	}{
		{name: "first publish by the next process", restart: true},
		{name: "first publish by the same process"},
		{name: "first publish while the API server is away", away: true},
		{name: "renewal by the next process", live: true, restart: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := prepare(t, func(*world) string { return "certificate: {duration: 15s}" }, impatient)
			proxy := w.behindProxy()
			stopDriver := w.startDriver()
			pod := w.pod("web-0")
			var target string
			if test.live {
				target = w.publishBeforeApproverEnds(pod)
			} else if _, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName); err == nil {
				t.Fatal("published without an approver")
			}
			w.eventually("a request waits for approval", func() bool { return w.openRequests() == 1 })
			late := w.openRequest()
			if test.restart {
				stopDriver()
			}
			if test.away {
				proxy.Away()
			}
			w.startReplica("late")
			w.eventually("it is signed, and what was signed has expired", func() bool { return w.hasExpired(late) })
			proxy.Inject(nil)
			if test.restart {
				w.startDriver()
			}
			before := ""
			if test.live {
				before = w.generation(target)
			}
			target = w.publishSoon(pod)
			w.eventually("the volume has another document", func() bool { return w.generation(target) != before })
			leaf := w.readLeaf(target)
			if left := time.Until(leaf.NotAfter); left < leaf.NotAfter.Sub(leaf.NotBefore)/2 {
				t.Errorf("%s are left of the document", left)
			}
			w.eventually("the request that came too late is deleted", func() bool { _, there := w.find(late); return !there })
		})
	}
}

// publishBeforeApproverEnds publishes a pod, and leaves it without an approver.
func (w *world) publishBeforeApproverEnds(pod *corev1.Pod) (target string) {
	w.t.Helper()
	stop := w.startReplica("early")
	defer stop()
	return w.publishSoon(pod)
}

// openRequest is the name of the only open request of the world's pods.
func (w *world) openRequest() string {
	w.t.Helper()
	for _, request := range w.requests() {
		if isOpen(request) {
			return request.Name
		}
	}
	w.t.Fatal("there is no open request")
	return ""
}

// find returns the request of a name, and false if there is none.
func (w *world) find(name string) (cmapi.CertificateRequest, bool) {
	w.t.Helper()
	for _, request := range w.requests() {
		if request.Name == name {
			return request, true
		}
	}
	return cmapi.CertificateRequest{}, false
}

// hasExpired reports whether a request was signed, for a time that is over.
func (w *world) hasExpired(name string) bool {
	w.t.Helper()
	request, _ := w.find(name)
	return len(request.Status.Certificate) > 0 && time.Now().After(w.parseLeaf(request.Status.Certificate).NotAfter)
}

// readLeaf reads the certificate in a volume alone: it may be renewed at any time,
// and then it is not that of a key which is read after it.
func (w *world) readLeaf(target string) *x509.Certificate {
	w.t.Helper()
	chain, err := os.ReadFile(filepath.Join(target, "tls.crt"))
	w.check(err)
	return w.parseLeaf(chain)
}

func (w *world) parseLeaf(chain []byte) *x509.Certificate {
	w.t.Helper()
	block, _ := pem.Decode(chain)
	if block == nil {
		w.t.Fatalf("no certificate in %q", chain)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	w.check(err)
	return leaf
}
