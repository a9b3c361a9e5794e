// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

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

// A request that is approved and signed while nobody waits for it may be found when
// its SVID has expired. A pod starts with another, or is renewed by another.
func TestSVIDThatCameTooLateIsNotUsed(t *testing.T) {
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
			w.eventually("the volume has another SVID", func() bool { return w.generation(target) != before })
			leaf := w.readLeaf(target)
			if left := time.Until(leaf.NotAfter); left < leaf.NotAfter.Sub(leaf.NotBefore)/2 {
				t.Errorf("%s are left of the SVID", left)
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

// replaceServiceAccount makes the world's ServiceAccount anew, which ends the tokens that
// it had, as if they had expired: no test can wait for ten minutes, the least that the
// API server issues them for.
func (w *world) replaceServiceAccount() {
	w.t.Helper()
	accounts := w.Kubernetes.CoreV1().ServiceAccounts(w.workload.Namespace)
	w.check(accounts.Delete(w.t.Context(), w.workload.ServiceAccount, metav1.DeleteOptions{}))
	_, err := accounts.Create(w.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: w.workload.ServiceAccount}}, metav1.CreateOptions{})
	w.check(err)
}

// tokenOf is the token in a request of the kubelet.
func (w *world) tokenOf(request *csi.NodePublishVolumeRequest) string {
	w.t.Helper()
	var tokens map[string]authv1.TokenRequestStatus
	w.check(json.Unmarshal([]byte(request.GetVolumeContext()[tokensKey]), &tokens))
	return tokens[""].Token
}

// setToken puts another token into a request of the kubelet.
func (w *world) setToken(request *csi.NodePublishVolumeRequest, token string) {
	w.t.Helper()
	data, err := json.Marshal(map[string]authv1.TokenRequestStatus{"": {Token: token}})
	w.check(err)
	request.VolumeContext[tokensKey] = string(data)
}

// An approver or issuer that answers when the pod's token has expired: the request was
// made already, and needs the token no more, not even with another process.
func TestIssuerThatAnswersAfterTheTokenHasEnded(t *testing.T) {
	for name, restarted := range map[string]bool{"one process": false, "restarted meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			w := prepareImpatient(t)
			stop := w.startDriver()
			pod := w.pod("web-0")
			request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
			w.check(err)
			w.eventually("the request is there", func() bool {
				_, err := w.kubelet.Node.NodePublishVolume(t.Context(), request)
				return contains(err, "no approver has decided")
			})
			made := w.onlyRequest()
			w.replaceServiceAccount()
			w.eventually("the token has ended", func() bool {
				client, err := kubernetes.NewForConfig(w.As(w.tokenOf(request)))
				w.check(err)
				_, err = client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authv1.SelfSubjectReview{}, metav1.CreateOptions{})
				return apierrors.IsUnauthorized(err)
			})
			if restarted {
				stop()
				w.startDriver()
			}
			w.startApprover()
			w.eventually("the volume is published", func() bool {
				_, err := w.kubelet.Node.NodePublishVolume(t.Context(), request)
				return err == nil
			})
			w.readSVID(request.GetTargetPath())
			if got := w.onlyRequest(); got.UID != made.UID {
				t.Errorf("the SVID came from %s, want %s", got.Name, made.Name)
			}
		})
	}
}

// Where --api-audiences of the API server was changed, the kubelet has tokens of before
// for up to an hour. A pod waits, is told why, and starts when there is another token.
func TestTokenOfAnotherAudience(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
	w.check(err)
	seconds := int64(3600)
	other, err := w.Kubernetes.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(t.Context(), pod.Spec.ServiceAccountName, &authv1.TokenRequest{
		Spec: authv1.TokenRequestSpec{
			Audiences: []string{"https://before.example.org"}, ExpirationSeconds: &seconds,
			BoundObjectRef: &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		},
	}, metav1.CreateOptions{})
	w.check(err)
	good := w.tokenOf(request)
	w.setToken(request, other.Status.Token)
	_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
	w.requireRefusal(err, codes.Unauthenticated)
	troubleshooting.Row("the API server does not accept the pod's token; has the pod been deleted?").Seen(t, err.Error())
	w.requireNothingLeft(pod)
	w.setToken(request, good)
	_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
	w.check(err)
	w.readSVID(request.GetTargetPath())
}
