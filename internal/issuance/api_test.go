// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// api is as much of an API server as a Requester talks to: one watch, create,
// get and delete. What the real one does is tested in package integration; here it
// is made to misbehave.
type api struct {
	*httptest.Server
	// created is called for each request that was created, and sends what the
	// watch is to tell of it. If it returns a status, creation fails with that.
	created func(a *api, request *cmapi.CertificateRequest) *metav1.Status

	// swallows, unless nil, tells of calls that get no answer, for as long as the
	// connection lives.
	swallows func(*http.Request) bool

	events chan change

	mu      sync.Mutex
	calls   []string // "VERB NAME by TOKEN"
	selects []string // the selectors of watches
	sent    map[string]*cmapi.CertificateRequest
}

// change is what a watch tells.
type change struct {
	kind    string
	request *cmapi.CertificateRequest
}

func newAPI(t *testing.T, created func(*api, *cmapi.CertificateRequest) *metav1.Status) *api {
	t.Helper()
	a := &api{created: created, events: make(chan change, 16)}
	a.Server = httptest.NewServer(a)
	t.Cleanup(func() { a.CloseClientConnections(); a.Close() })
	return a
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if a.swallows != nil && a.swallows(r) {
		_, _ = io.Copy(io.Discard, r.Body) // else nobody hears that the connection ends
		<-r.Context().Done()
		return
	}
	switch r.Method {
	case http.MethodGet:
		if name := path.Base(r.URL.Path); name != "certificaterequests" {
			a.get(w, name)
		} else {
			a.listOrWatch(w, r)
		}
	case http.MethodPost:
		a.create(w, r)
	default:
		a.delete(w, r)
	}
}

// delete deletes the object of a name, if there is one and it has the UID that is
// demanded.
func (a *api) delete(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	a.note(r, name)
	var options metav1.DeleteOptions
	if err := json.NewDecoder(r.Body).Decode(&options); err != nil {
		panic(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, there := options.Preconditions, a.sent[name]; there != nil && (p == nil || p.UID == nil || *p.UID != there.UID) {
		w.WriteHeader(http.StatusConflict)
		respond(w, metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonConflict, Code: http.StatusConflict})
		return
	}
	delete(a.sent, name)
	respond(w, metav1.Status{Status: metav1.StatusSuccess})
}

func respond(w http.ResponseWriter, body any) {
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(err)
	}
}

func (a *api) note(r *http.Request, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, fmt.Sprintf("%s %s by %s", r.Method, name, r.Header.Get("Authorization")))
}

// noted returns the calls that change something, so far.
func (a *api) noted() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

func (a *api) create(w http.ResponseWriter, r *http.Request) {
	request := &cmapi.CertificateRequest{}
	if err := json.NewDecoder(r.Body).Decode(request); err != nil {
		panic(err)
	}
	a.note(r, request.Name)
	admit(request)
	if status := a.created(a, request); status != nil {
		w.WriteHeader(int(status.Code))
		respond(w, status)
		return
	}
	a.mu.Lock()
	if a.sent[request.Name] == nil {
		a.put(request)
	}
	a.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
	respond(w, request)
}

// admit fills in what the API server and cert-manager's webhook do for a request that
// was made with the token of the pod that owns it.
func admit(request *cmapi.CertificateRequest) *cmapi.CertificateRequest {
	owner := request.OwnerReferences[0]
	request.UID = types.UID(rand.Text())
	request.Spec.Username = "system:serviceaccount:" + request.Namespace + ":example-app"
	request.Spec.Extra = map[string][]string{policy.ExtraPodName: {owner.Name}, policy.ExtraPodUID: {string(owner.UID)}}
	return request
}

// get answers with a request as it was created, or as the watch last told of it.
func (a *api) get(w http.ResponseWriter, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if request := a.sent[name]; request != nil {
		respond(w, request)
		return
	}
	w.WriteHeader(http.StatusNotFound)
	respond(w, metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound})
}

func (a *api) listOrWatch(w http.ResponseWriter, r *http.Request) {
	if !r.URL.Query().Has("watch") {
		respond(w, cmapi.CertificateRequestList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}})
		return
	}
	a.mu.Lock()
	a.selects = append(a.selects, r.URL.Query().Get("labelSelector")+r.URL.Query().Get("fieldSelector"))
	a.mu.Unlock()
	// The end of what was there before, which is nothing.
	a.tell(w, "BOOKMARK", &cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{
		ResourceVersion: "1", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"},
	}})
	for {
		select {
		case event := <-a.events:
			a.tell(w, event.kind, event.request)
		case <-r.Context().Done():
			return
		}
	}
}

func (*api) tell(w http.ResponseWriter, kind string, request *cmapi.CertificateRequest) {
	request.TypeMeta = metav1.TypeMeta{Kind: cmapi.CertificateRequestKind, APIVersion: cmapi.SchemeGroupVersion.String()}
	respond(w, map[string]any{"type": kind, "object": request})
	w.(http.Flusher).Flush()
}

// send makes the watch tell of a request.
func (a *api) send(kind string, request *cmapi.CertificateRequest) {
	a.mu.Lock()
	if kind == "DELETED" {
		delete(a.sent, request.Name)
	} else {
		a.put(request)
	}
	a.mu.Unlock()
	a.events <- change{kind, request.DeepCopy()}
}

// put has get answer with a request. The caller holds the lock.
func (a *api) put(request *cmapi.CertificateRequest) {
	if a.sent == nil {
		a.sent = map[string]*cmapi.CertificateRequest{}
	}
	a.sent[request.Name] = request.DeepCopy()
}

// requester returns a started Requester of node worker-1.
func (a *api) requester(t *testing.T) *Requester {
	t.Helper()
	return a.requesterWatching(t, WatchNode)
}

func (a *api) requesterWatching(t *testing.T, scope WatchScope) *Requester {
	t.Helper()
	r, err := NewRequester(&rest.Config{Host: a.URL, BearerToken: "driver", QPS: -1}, Owner{Node: "worker-1"}, scope, slog.New(slog.DiscardHandler))
	check(t, err)
	r.Start(t.Context())
	return r
}

func testPolicy() policy.Policy {
	return policy.Policy{
		TrustDomain: spiffeid.RequireTrustDomainFromString("my.trust.domain"),
		IssuerRef:   policy.IssuerRef{Name: "ca", Kind: "ClusterIssuer", Group: "cert-manager.io"},
		Key:         policy.KeySpec{Algorithm: policy.ECDSA, Size: 256},
		Duration:    time.Hour,
		Annotations: policy.NewAnnotations(map[string]string{"example.com/team": "blue"}),
	}
}

func testOrder(t *testing.T) Order {
	t.Helper()
	sa, err := spiffe.NewServiceAccount("sandbox", "example-app")
	check(t, err)
	return Order{
		Policy: testPolicy(),
		Token:  NewToken("pod"), Owner: Owner{Node: "worker-1"}, VolumeID: "csi-5a8a6b",
		Pod: spiffe.PodToken{ServiceAccount: sa, PodName: "web-0", PodUID: "c2f0f7a1"},
	}
}
