// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

const testConfig = `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: my.trust.domain
issuerRef: {name: ca}
approver: {workers: 2}
`

// api answers status updates, and nothing else. What a real API server and
// cert-manager's webhook say is tested in package integration.
type api struct {
	answers []int // the HTTP status of each update in turn; 200 after that

	mu      sync.Mutex
	updates []*cmapi.CertificateRequest
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	request := &cmapi.CertificateRequest{}
	w.Header().Set("Content-Type", "application/json")
	if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/status") || json.Unmarshal(body, request) != nil {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.updates = append(a.updates, request)
	if n := len(a.updates); n <= len(a.answers) && a.answers[n-1] != http.StatusOK {
		code := a.answers[n-1]
		reasons := map[int]metav1.StatusReason{
			http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusForbidden: metav1.StatusReasonForbidden,
			http.StatusConflict: metav1.StatusReasonConflict,
		}
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q,"message":"request %s"}`, code, reasons[code], request.Name)
		return
	}
	_, _ = w.Write(body)
}

// names lists the requests that were updated, with the condition that was set.
func (a *api) names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, update := range a.updates {
		out = append(out, update.Name+" "+string(update.Status.Conditions[len(update.Status.Conditions)-1].Type))
	}
	slices.Sort(out)
	return out
}

func newApprover(t *testing.T, a *api) *Approver {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	c, err := config.Parse("test.yaml", []byte(testConfig))
	check(t, err)
	approver, err := New(Options{
		Identity: "a", Namespace: "cert-manager", Config: config.NewHolder(c),
		REST: &rest.Config{Host: server.URL, QPS: -1}, Log: slog.New(slog.DiscardHandler),
	})
	check(t, err)
	return approver
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newInbox returns an inbox whose watch the test stands in for.
func newInbox() *inbox {
	return &inbox{
		requests: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}),
		waiting:  workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
}

func (b *inbox) see(t *testing.T, request *cmapi.CertificateRequest) {
	t.Helper()
	check(t, b.requests.Add(request))
	b.put(request)
}

// named returns a request for an issuer, of which a policy can say nothing good.
func named(name, issuer string) *cmapi.CertificateRequest {
	request := requestWith("", "")
	request.Name = name
	request.Spec.IssuerRef = cmmeta.IssuerReference{Name: issuer, Kind: "ClusterIssuer", Group: "cert-manager.io"}
	return request
}

func TestInbox(t *testing.T) {
	t.Parallel()
	box := newInbox()
	box.put("not a request")
	box.put(cache.DeletedFinalStateUnknown{Key: "x"})
	box.put(requestWith(approved, cmmeta.ConditionTrue))
	box.put(requestWith(denied, cmmeta.ConditionTrue))
	if n := box.waiting.Len(); n != 0 {
		t.Errorf("%d wait that nobody need decide", n)
	}
	for range 3 {
		box.see(t, requestWith("", ""))
	}
	if n := box.waiting.Len(); n != 1 {
		t.Errorf("%d wait, want 1", n)
	}
	if got := box.get("sandbox/web-0-x2b4"); got == nil || got.Name != "web-0-x2b4" {
		t.Errorf("got %v", got)
	}
	if got := box.get("sandbox/gone"); got != nil {
		t.Errorf("got %v, want nothing", got)
	}
}

func TestWorkDecidesWhatIsItsOwn(t *testing.T) {
	t.Parallel()
	a := &api{}
	box := newInbox()
	approver := newApprover(t, a)
	box.see(t, named("ours", "ca"))
	box.see(t, named("theirs", "other"))
	box.waiting.Add("sandbox/gone")
	already := named("already", "ca")
	box.see(t, already)
	already = already.DeepCopy()
	already.Status.Conditions = requestWith(denied, cmmeta.ConditionTrue).Status.Conditions
	check(t, box.requests.Update(already)) // decided while it waited
	for range 4 {
		if !approver.workOne(t.Context(), box) {
			t.Fatal("the inbox is closed")
		}
	}
	if got, want := a.names(), []string{"ours Denied"}; !slices.Equal(got, want) {
		t.Errorf("updated %q, want %q", got, want)
	}
	if original := box.get("sandbox/ours"); len(original.Status.Conditions) != 0 {
		t.Error("what the watch holds was changed")
	}
}

func TestDecideOnWhatTheServerSays(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		answer   int
		fragment string // of the error; empty for none
	}{
		{"done", http.StatusOK, ""},
		{"gone meanwhile", http.StatusNotFound, ""},
		{"changed meanwhile", http.StatusConflict, "request ours"},
		{"not allowed", http.StatusForbidden, `the verb "approve" on signers.cert-manager.io`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			approver := newApprover(t, &api{answers: []int{row.answer}})
			_, err := approver.decide(t.Context(), named("ours", "ca"))
			if row.fragment == "" {
				check(t, err)
			} else if err == nil || !strings.Contains(err.Error(), row.fragment) {
				t.Errorf("got %v, want %q", err, row.fragment)
			}
		})
	}
}

func TestWorkTriesAgainAndEndsWithItsContext(t *testing.T) {
	t.Parallel()
	a := &api{answers: []int{http.StatusConflict, http.StatusForbidden}}
	box := newInbox()
	approver := newApprover(t, a)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	box.see(t, named("ours", "ca"))
	ended := make(chan struct{})
	go func() { defer close(ended); approver.work(ctx, box) }()
	for len(a.names()) < 3 {
		check(t, t.Context().Err())
	}
	stop()
	<-ended
	if n := len(a.names()); n != 3 {
		t.Errorf("%d updates, want 3", n)
	}
}

func TestNotReadyBeforeTheWatchIs(t *testing.T) {
	t.Parallel()
	approver := newApprover(t, &api{})
	if err := approver.Ready(); !errors.Is(err, errNotSynced) {
		t.Errorf("got %v, want errNotSynced", err)
	}
	approver.synced.Store(true)
	check(t, approver.Ready())
}
