// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// received is all that a client has got from the API server.
type received struct {
	next http.RoundTripper

	mu   sync.Mutex
	text bytes.Buffer
}

func (r *received) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.next.RoundTrip(request)
	if err == nil {
		response.Body = &tee{response.Body, r}
	}
	return response, err
}

func (r *received) contains(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.text.Bytes(), []byte(text))
}

type tee struct {
	io.ReadCloser
	to *received
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.to.mu.Lock()
	defer t.to.mu.Unlock()
	t.to.text.Write(p[:n])
	return n, err
}

// listen has all that the approver gets from the API server noted.
func (w *world) listen() *received {
	got := &received{}
	w.installation.Approver.Wrap(func(next http.RoundTripper) http.RoundTripper {
		got.next = next
		return got
	})
	return got
}

// Requests for other issuers do not even reach the approver.
func TestApproverIsSentOnlyItsOwn(t *testing.T) {
	w := prepare(t)
	got := w.listen()
	foreign := w.spec("example-app")
	foreign.IssuerRef.Name = "another"
	before := w.request(foreign)
	w.startApprover()
	w.decision(w.request(w.spec("example-app")))
	after := w.request(foreign)
	own := w.request(w.spec("example-app"))
	w.decision(own)
	if !got.contains(own) {
		t.Fatal("the test does not see what the approver gets")
	}
	if got.contains(before) || got.contains(after) {
		t.Error("requests for another issuer were sent to the approver")
	}
}

// A cluster without cert-manager's resources, then with those of an old version,
// then with those of today, and an approver that has been there from the
// beginning.
func TestApproverThroughTheAgesOfCertManager(t *testing.T) {
	t.Parallel()
	w := prepareOn(t, testkit.RequireOwn(t), impatient)
	got := w.listen()
	crd := w.takeCRDAway()
	w.startApprover()
	w.logs(troubleshooting.Row("install cert-manager's CustomResourceDefinitions"))
	w.startDriver()
	w.waitsWith(w.pod("web-0"), troubleshooting.Row("the API server has not answered to list and watch of CertificateRequests … could not find the requested resource"))

	old := crd.DeepCopy()
	versions, _, _ := unstructured.NestedSlice(old.Object, "spec", "versions")
	delete(versions[0].(map[string]any), "selectableFields")
	w.check(unstructured.SetNestedSlice(old.Object, versions, "spec", "versions"))
	w.createCRD(old)
	foreign := w.spec("example-app")
	foreign.IssuerRef.Name = "another"
	theirs := w.requestWhenPossible(foreign)
	w.requireApproved(w.request(w.spec("example-app")))
	if !strings.Contains(w.log.String(), "cannot select CertificateRequests by issuer") {
		t.Error("the log does not say that all requests are sent")
	}
	w.requireUndecided(theirs)

	if !got.contains(theirs) {
		t.Error("the API server has selected, though it cannot")
	}

	w.takeCRDAway()
	w.createCRD(crd)
	theirs = w.requestWhenPossible(foreign)
	own := w.request(w.spec("example-app"))
	w.requireApproved(own)
	if !got.contains(own) || got.contains(theirs) {
		t.Error("the API server can select again, and is not asked to")
	}
}

func crds() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

const crdName = "certificaterequests.cert-manager.io"

// takeCRDAway deletes the definition of CertificateRequests, with all of them,
// and returns what it was.
func (w *world) takeCRDAway() *unstructured.Unstructured {
	w.t.Helper()
	ctx, client := w.t.Context(), w.Dynamic.Resource(crds())
	crd, err := client.Get(ctx, crdName, metav1.GetOptions{})
	w.check(err)
	w.check(client.Delete(ctx, crdName, metav1.DeleteOptions{}))
	w.eventually("the definition is gone", func() bool {
		_, err := client.Get(ctx, crdName, metav1.GetOptions{})
		return err != nil
	})
	crd.SetResourceVersion("")
	crd.SetUID("")
	delete(crd.Object, "status")
	return crd
}

func (w *world) createCRD(crd *unstructured.Unstructured) {
	w.t.Helper()
	_, err := w.Dynamic.Resource(crds()).Create(w.t.Context(), crd, metav1.CreateOptions{})
	w.check(err)
}

// requestWhenPossible is request as soon as the API server serves them.
func (w *world) requestWhenPossible(spec cmapi.CertificateRequestSpec) string {
	w.t.Helper()
	w.eventually("CertificateRequests are served", func() bool {
		_, err := w.CertManager.CertmanagerV1().CertificateRequests("").List(w.t.Context(), metav1.ListOptions{})
		return err == nil
	})
	return w.request(spec)
}

// With approver.approveOthers, requests of all kinds are approved, but for those
// that carry a SPIFFE ID or cannot be read. That can be switched while the
// approver runs. On a cluster of its own, for it would approve what other tests
// have made.
func TestApproveOthers(t *testing.T) {
	t.Parallel()
	w := prepareOn(t, testkit.RequireOwn(t))
	w.allowSigners("clusterissuers.cert-manager.io/*", "issuers.cert-manager.io/*")
	w.startApprover()
	web := w.spec("example-app")
	web.IssuerRef.Name, web.Duration, web.Usages = "another", nil, nil
	key, err := w.config.Policy().Key.Generate()
	w.check(err)
	web.Request = csrtest.Good(key).With(csrtest.Names(csrtest.Element(0x82, []byte("www.example.org")))).PEM()
	spiffe := w.spec("example-app")
	spiffe.IssuerRef.Name = "another"
	first := w.request(web)
	w.requireApproved(w.request(w.spec("example-app")))
	w.requireUndecided(first)

	w.ofApprover.Set(w.changedConfig("approver: {httpAddress: '', leaderElection: {enabled: false}, approveOthers: true}"))
	w.requireApproved(first)
	theirs := w.request(spiffe)
	w.requireApproved(w.request(web))
	w.requireApproved(w.request(w.spec("example-app")))
	w.requireUndecided(theirs)
	if !strings.Contains(w.log.String(), "left alone") {
		t.Error("the log does not say why a request was left alone")
	}
	w.requireDenied(w.request(w.spec("somebody-else")))

	w.ofApprover.Set(w.changedConfig("approver: {httpAddress: '', leaderElection: {enabled: false}, approveOthers: false}"))
	last := w.request(web)
	w.requireApproved(w.request(w.spec("example-app")))
	w.requireUndecided(last)
}

// Whoever has a CA certificate of an issuer whose root is in trust bundles can
// make an SVID for anybody. With approver.approveOthers, none is approved but for
// issuers in approver.approveCAs, nor anything to issuers in
// approver.formerIssuers, also by an approver that has just been started.
func TestApproveOthersKeepsCAsBack(t *testing.T) {
	t.Parallel()
	w := prepareOn(t, testkit.RequireOwn(t), withoutAdmission) // which would reject some
	w.allowSigners("clusterissuers.cert-manager.io/*", "issuers.cert-manager.io/*")
	const section = "approver: {httpAddress: '', leaderElection: {enabled: false}, approveOthers: true"
	key, err := w.config.Policy().Key.Generate()
	w.check(err)
	ca := w.spec("example-app")
	ca.IsCA, ca.Usages, ca.Duration = true, []cmapi.KeyUsage{cmapi.UsageCertSign, cmapi.UsageCRLSign}, &metav1.Duration{Duration: 87600 * time.Hour}
	ca.Request = csrtest.Good(key).With(csrtest.Names(csrtest.Element(0x82, []byte("ca.example.org")))).PEM()
	former := w.issuer
	w.lines = append(w.lines, "rollout: {gracePeriod: 0s}")
	leaf := ca
	leaf.IsCA, leaf.Usages, leaf.Duration = false, nil, nil
	to := func(spec cmapi.CertificateRequestSpec, issuer string) cmapi.CertificateRequestSpec {
		spec.IssuerRef.Name = issuer
		return spec
	}

	w.config = w.changedConfig(section + ", approveCAs: [{name: root}]}")
	stop := w.startReplica("first")
	refused := w.request(to(ca, "another"))
	w.requireApproved(w.request(to(ca, "root")))
	w.requireApproved(w.request(to(leaf, "another")))
	w.requireUndecided(refused)
	stop()

	// The issuer of SVIDs is another now, and a new approver knows of the one before from the file alone.
	w.changedConfig("issuerRef: {name: " + former + "-2}")
	w.config, w.ofApprover = w.changedConfig(section+", formerIssuers: [{name: "+former+"}]}"), nil
	w.startReplica("second")
	toFormer := []string{w.request(to(ca, former)), w.request(to(leaf, former))}
	w.requireApproved(w.request(to(leaf, "another")))
	for _, name := range toFormer {
		w.requireUndecided(name)
	}
	if !strings.Contains(w.log.String(), policy.ErrFormerIssuer.Error()) || !strings.Contains(w.log.String(), policy.ErrOtherCA.Error()) {
		t.Error("the log does not say why requests were left alone")
	}
}

func (w *world) requireApproved(name string) {
	w.t.Helper()
	if d := w.decision(name); d.Type != cmapi.CertificateRequestConditionApproved {
		w.t.Errorf("%s: %s: %s", name, d.Type, d.Message)
	}
}

func (w *world) requireDenied(name string) {
	w.t.Helper()
	if d := w.decision(name); d.Type != cmapi.CertificateRequestConditionDenied {
		w.t.Errorf("%s: %s: %s", name, d.Type, d.Message)
	}
}

// A new issuer in the file is watched from then on, and the one before for the
// grace period, but not longer.
func TestApproverFollowsTheIssuer(t *testing.T) {
	w := prepare(t, func(*world) string { return "rollout: {gracePeriod: 3s}" })
	second := w.issuer + "-2"
	w.check(w.CreateClusterIssuer(t.Context(), second, w.ca))
	w.allowSigner(second)
	w.startApprover()
	to := func(issuer string) cmapi.CertificateRequestSpec {
		spec := w.spec("example-app")
		spec.IssuerRef.Name = issuer
		return spec
	}
	early := w.request(to(second))
	w.requireApproved(w.request(to(w.issuer)))
	w.requireUndecided(early)

	w.ofApprover.Set(w.changedConfig("issuerRef: {name: " + second + "}"))
	w.requireApproved(early)
	w.requireApproved(w.request(to(w.issuer)))
	w.logged("are no longer watched")
	late := w.request(to(w.issuer))
	w.requireApproved(w.request(to(second)))
	w.requireUndecided(late)
}
