// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

const testConfig = `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: my.trust.domain
issuerRef: {name: ca}
approver: {workers: 2}
`

// answer is what the API server says to an update.
type answer struct {
	code    int
	message string
}

// api answers status updates, and nothing else. What a real API server and
// cert-manager's webhook say is tested in package integration.
type api struct {
	answers []answer // to each update in turn; 200 after that
	// refuseKind is a kind of issuer that does not exist.
	refuseKind string

	mu      sync.Mutex
	updates []*cmapi.CertificateRequest
	// large are the requests that are fetched by their names.
	large []*cmapi.CertificateRequest
}

// list answers as the real one does to a list of one name.
func (a *api) list(w http.ResponseWriter, selector string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := cmapi.CertificateRequestList{}
	for _, request := range a.large {
		if "metadata.name="+request.Name == selector {
			list.Items = append(list.Items, *request)
		}
	}
	_ = json.NewEncoder(w).Encode(list)
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	request := &cmapi.CertificateRequest{}
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet && r.URL.Query().Has("fieldSelector") {
		a.list(w, r.URL.Query().Get("fieldSelector"))
		return
	}
	if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/status") || json.Unmarshal(body, request) != nil {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.updates = append(a.updates, request)
	if a.refuseKind != "" && request.Spec.IssuerRef.Kind == a.refuseKind {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":403,"reason":"Forbidden","message":"referenced signer resource does not exist"}`)
		return
	}
	if n := len(a.updates); n <= len(a.answers) && a.answers[n-1].code != http.StatusOK {
		refused := a.answers[n-1]
		reasons := map[int]metav1.StatusReason{
			http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusForbidden: metav1.StatusReasonForbidden,
			http.StatusConflict: metav1.StatusReasonConflict, http.StatusInternalServerError: metav1.StatusReasonInternalError,
			http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
		}
		w.WriteHeader(refused.code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q,"message":%q}`,
			refused.code, reasons[refused.code], refused.message+" request "+request.Name)
		return
	}
	_, _ = w.Write(body)
}

// names lists the requests that were updated, in order, with the condition that
// was set.
func (a *api) names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, update := range a.updates {
		out = append(out, update.Name+" "+string(update.Status.Conditions[len(update.Status.Conditions)-1].Type))
	}
	return out
}

// tried counts the updates of requests whose names begin so.
func (a *api) tried(prefix string) (count int) {
	for _, name := range a.names() {
		if strings.HasPrefix(name, prefix) {
			count++
		}
	}
	return count
}

func newApprover(t *testing.T, a *api) *Approver {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return newApproverThrough(t, &rest.Config{Host: server.URL, QPS: -1})
}

// newApproverThrough is newApprover with another way to an API server.
func newApproverThrough(t *testing.T, access *rest.Config) *Approver {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte(testConfig))
	check(t, err)
	approver, err := New(Options{
		Identity: "a", Namespace: "cert-manager", Config: config.NewHolder(c),
		REST: access, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	check(t, err)
	needed, _ := approver.rollout.scopes(time.Now())
	approver.undecided.openStore(needed[0])
	return approver
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// see stands in for the watch.
func (a *Approver) see(t *testing.T, requests ...*cmapi.CertificateRequest) {
	t.Helper()
	for _, store := range a.undecided.stores {
		for _, request := range requests {
			check(t, store.Update(request))
		}
	}
}

// named returns a request for an issuer, of which a policy can say nothing good.
func named(name, issuer string) *cmapi.CertificateRequest {
	request := requestWith("", "")
	request.Name, request.UID = name, types.UID(name)
	request.Spec.IssuerRef = cmmeta.IssuerReference{Name: issuer, Kind: "ClusterIssuer", Group: "cert-manager.io"}
	return request
}

func decidedNow(request *cmapi.CertificateRequest) *cmapi.CertificateRequest {
	request = request.DeepCopy()
	request.Status.Conditions = requestWith(denied, cmmeta.ConditionTrue).Status.Conditions
	return request
}

func TestWorkDecidesWhatIsItsOwn(t *testing.T) {
	t.Parallel()
	a := &api{}
	approver := newApprover(t, a)
	waiting := newQueue(2)
	defer approver.undecided.feed(waiting)()
	already := named("already", "ca")
	approver.see(t, named("ours", "ca"), named("theirs", "other"), already)
	approver.see(t, decidedNow(already)) // while it waited
	for range waiting.Len() {
		if !approver.workOne(t.Context(), waiting) {
			t.Fatal("the queue is closed")
		}
	}
	if got, want := a.names(), []string{"ours Denied"}; !slices.Equal(got, want) {
		t.Errorf("updated %q, want %q", got, want)
	}
	if undecided, queued := approver.undecided.counts(); undecided != 0 || queued != 0 {
		t.Errorf("%d are kept and %d queued, want none", undecided, queued)
	}
}

// Whoever has waited longest is first, and no request is decided twice however
// often it changes.
func TestWorkBeginsWithTheOldest(t *testing.T) {
	t.Parallel()
	a := &api{}
	approver := newApprover(t, a)
	start := time.Now()
	created := func(name string, age time.Duration) *cmapi.CertificateRequest {
		request := named(name, "ca")
		request.CreationTimestamp = metav1.NewTime(start.Add(-age))
		return request
	}
	waiting := newQueue(2)
	defer approver.undecided.feed(waiting)()
	approver.see(t, created("young", 0), created("old", time.Hour), created("oldest", 2*time.Hour), created("as-young", 0))
	approver.see(t, created("old", time.Hour), created("young", 0)) // somebody has annotated them
	for waiting.Len() > 0 {
		approver.workOne(t.Context(), waiting)
	}
	if got, want := a.names(), []string{"oldest Denied", "old Denied", "young Denied", "as-young Denied"}; !slices.Equal(got, want) {
		t.Errorf("updated %q, want %q", got, want)
	}
}

func TestWorkTriesAgainAndEndsWithItsContext(t *testing.T) {
	t.Parallel()
	a := &api{answers: []answer{{code: http.StatusInternalServerError}, {code: http.StatusForbidden}, {code: http.StatusConflict}}}
	approver := newApprover(t, a)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	approver.see(t, named("ours", "ca"))
	ended := make(chan struct{})
	go func() { defer close(ended); approver.work(ctx) }()
	for len(a.names()) < 4 {
		check(t, t.Context().Err())
	}
	stop()
	<-ended
	if n := len(a.names()); n != 4 {
		t.Errorf("%d updates, want 4", n)
	}
}

// A leader that stops leaves what waits to the next one.
func TestStoppedLeaderDecidesNothingMore(t *testing.T) {
	t.Parallel()
	a := &api{}
	approver := newApprover(t, a)
	waiting := newQueue(2)
	defer approver.undecided.feed(waiting)()
	approver.see(t, named("a", "ca"), named("b", "ca"))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for waiting.Len() > 0 {
		approver.workOne(ctx, waiting)
	}
	if undecided, _ := approver.undecided.counts(); undecided != 2 || len(a.names()) != 0 {
		t.Errorf("%d are kept and %d updated, want 2 and 0", undecided, len(a.names()))
	}
	if n := testutil.ToFloat64(approver.metrics.failures.WithLabelValues("other")); n != 0 {
		t.Errorf("%v failures are counted", n)
	}
}

// Somebody's requests for issuers that do not exist are refused again and again;
// requests for SVIDs do not wait for them.
func TestOthersDoNotHoldUpSVIDs(t *testing.T) {
	t.Parallel()
	a := &api{refuseKind: "Nope"}
	approver := newApprover(t, a)
	approver.config.Set(withOthers(t, 2))
	approver.takeConfig()
	needed, _ := approver.rollout.scopes(time.Now())
	approver.undecided.openStore(needed[0])
	for i := range 500 {
		bad := named("bad-"+strconv.Itoa(i), "ca")
		bad.Spec.IssuerRef.Kind, bad.Spec.Request = "Nope", webRequest(t)
		bad.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
		approver.see(t, bad)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan struct{})
	go func() { defer close(ended); approver.work(ctx) }()
	for a.tried("bad-") == 0 {
		check(t, t.Context().Err())
	}
	approver.see(t, named("ours", "ca"))
	for a.tried("ours") == 0 {
		check(t, t.Context().Err())
	}
	stop()
	<-ended
	if n := a.tried("bad-"); n > 100 {
		t.Errorf("%d decisions were refused meanwhile: the signer has not rested", n)
	}
}

func withOthers(t *testing.T, workers int) *config.Config {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte(strings.Replace(testConfig, "workers: 2", fmt.Sprintf("workers: %d, approveOthers: true", workers), 1)))
	check(t, err)
	return c
}

// webRequest is a CSR for a DNS name.
func webRequest(t *testing.T) []byte {
	t.Helper()
	key, err := csr.KeySpec{Algorithm: csr.Ed25519}.Generate()
	check(t, err)
	return csrtest.Good(key).With(csrtest.Names(csrtest.Element(0x82, []byte("www.example.org")))).PEM()
}

// What is left alone is not kept, for there may be very much of it.
func TestLeftAloneIsNotKept(t *testing.T) {
	t.Parallel()
	unreadable := named("theirs", "other")
	unreadable.Spec.Request = bytes.Repeat([]byte("x"), 1<<20)
	approver := newApprover(t, &api{large: []*cmapi.CertificateRequest{unreadable}})
	approver.config.Set(withOthers(t, 2))
	approver.takeConfig()
	needed, _ := approver.rollout.scopes(time.Now())
	approver.undecided.openStore(needed[0])
	waiting := newQueue(2)
	defer approver.undecided.feed(waiting)()
	approver.see(t, unreadable)
	if e, _ := approver.undecided.get("theirs"); len(e.request.Spec.Request) > csr.MaxSize+1 {
		t.Errorf("%d bytes of it are kept", len(e.request.Spec.Request))
	}
	approver.workOne(t.Context(), waiting)
	if undecided, _ := approver.undecided.counts(); undecided != 0 {
		t.Errorf("%d are kept", undecided)
	}
}

// A replica that stands by keeps what waits, and no queue of it.
func TestStandByQueuesNothing(t *testing.T) {
	t.Parallel()
	a := &api{}
	approver := newApprover(t, a)
	first, second := named("first", "ca"), named("second", "ca")
	approver.see(t, first, second, decidedNow(first))
	if undecided, queued := approver.undecided.counts(); undecided != 1 || queued != 0 {
		t.Errorf("%d are kept and %d queued, want 1 and 0", undecided, queued)
	}
	waiting := newQueue(2)
	stop := approver.undecided.feed(waiting)
	if n := waiting.Len(); n != 1 {
		t.Errorf("%d are queued when it leads, want 1", n)
	}
	stop()
	approver.see(t, named("third", "ca"))
	if n := waiting.Len(); n != 1 {
		t.Errorf("%d are queued when it leads no more, want 1", n)
	}
}

func TestNotReadyBeforeTheWatchIs(t *testing.T) {
	t.Parallel()
	approver := newApprover(t, &api{})
	if err := approver.Ready(); !errors.Is(err, errNotSynced) {
		t.Errorf("got %v, want errNotSynced", err)
	}
}
