// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// foreignRequests are what somebody makes of a good request who may create requests in
// the namespace: all of it can be chosen but for spec.username and spec.extra, and
// those say who he is.
func foreignRequests() map[string]func(*cmapi.CertificateRequest) {
	return map[string]func(*cmapi.CertificateRequest){
		"by a user":                           func(r *cmapi.CertificateRequest) { r.Spec.Username, r.Spec.Extra = "alice", nil },
		"by a token of no pod":                func(r *cmapi.CertificateRequest) { r.Spec.Extra = nil },
		"by cert-manager for a Certificate":   func(r *cmapi.CertificateRequest) { r.Spec.Username = "system:serviceaccount:cert-manager:cert-manager" },
		"by another ServiceAccount":           func(r *cmapi.CertificateRequest) { r.Spec.Username = "system:serviceaccount:sandbox:other" },
		"by a ServiceAccount of another name": func(r *cmapi.CertificateRequest) { r.Spec.Username = "system:serviceaccount:sandbox-2:example-app" },
		"by another pod": func(r *cmapi.CertificateRequest) {
			r.Spec.Extra = map[string][]string{policy.ExtraPodName: {"web-1"}, policy.ExtraPodUID: {"77"}}
			r.OwnerReferences[0].Name, r.OwnerReferences[0].UID = "web-1", "77"
		},
		"by another pod, owned by this one": func(r *cmapi.CertificateRequest) {
			r.Spec.Extra = map[string][]string{policy.ExtraPodName: {"web-1"}, policy.ExtraPodUID: {"77"}}
		},
		"by an earlier pod of the name": func(r *cmapi.CertificateRequest) {
			r.Spec.Extra[policy.ExtraPodUID] = []string{"77"}
			r.OwnerReferences[0].UID = "77"
		},
		"of two pods":                  func(r *cmapi.CertificateRequest) { r.Spec.Extra[policy.ExtraPodUID] = []string{"c2f0f7a1", "77"} },
		"of a pod without a UID":       func(r *cmapi.CertificateRequest) { delete(r.Spec.Extra, policy.ExtraPodUID) },
		"of a pod without a name":      func(r *cmapi.CertificateRequest) { delete(r.Spec.Extra, policy.ExtraPodName) },
		"without an owner":             func(r *cmapi.CertificateRequest) { r.OwnerReferences = nil },
		"owned by another pod":         func(r *cmapi.CertificateRequest) { r.OwnerReferences[0].UID = "77" },
		"owned by another kind":        func(r *cmapi.CertificateRequest) { r.OwnerReferences[0].Kind = "Node" },
		"owned by another group's pod": func(r *cmapi.CertificateRequest) { r.OwnerReferences[0].APIVersion = "example.com/v1" },
		"of a pod with a huge name": func(r *cmapi.CertificateRequest) {
			name := strings.Repeat("x", 1<<20)
			r.Spec.Extra[policy.ExtraPodName], r.OwnerReferences[0].Name = []string{name}, name
		},
	}
}

// A request of somebody else with the labels of a volume is not taken for one of the
// volume: it is not history, nor open, and is never deleted.
func TestRequestsOfOthersAreNotTheDrivers(t *testing.T) {
	t.Parallel()
	for name, change := range foreignRequests() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer, order := newFakeIssuer(t), testOrder(t)
			a := newAPI(t, func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
				a.send("ADDED", signWith(t, issuer, request))
				return nil
			})
			requester, err := NewRequester(&rest.Config{Host: a.URL, BearerToken: "driver", QPS: -1}, Owner{Node: "worker-1"}, WatchNode, slog.New(slog.DiscardHandler))
			check(t, err)
			seen := make(chan types.NamespacedName, 4)
			requester.OnNew(func(known Known, _ string) {
				if known.Pod.Is(web0()) {
					seen <- known.Request
				}
			})
			requester.Start(t.Context())
			foreign := requestNamed("foreign", order.VolumeID)
			change(foreign)
			a.send("ADDED", foreign)
			own := requestNamed("own", order.VolumeID)
			a.send("ADDED", own)
			if first := <-seen; first != nameOf(own) { // in the order of the watch
				t.Errorf("told of %s", first)
			}
			if known := requester.OfVolume(order.VolumeID, web0()); len(known) != 1 || known[0].Ref() != (Ref{nameOf(own), own.UID, web0()}) {
				t.Errorf("known of the volume: %+v", known)
			}
			svid, err := issue(t.Context(), requester, order, new(Progress))
			check(t, err)
			check(t, requester.Delete(t.Context(), Ref{Name: nameOf(foreign), Pod: web0()}))
			want := []string{"DELETE own by Bearer driver", "POST " + svid.Request.Name + " by Bearer pod"}
			if calls := a.noted(); !slices.Equal(calls, want) {
				t.Errorf("calls %q, want %q", calls, want)
			}
		})
	}
}

// Whoever may update requests can take the owner reference away. The request stays
// what it is.
func TestProofIsKept(t *testing.T) {
	t.Parallel()
	tracker := newIdleRequester(t, "https://127.0.0.1:1").tracker
	request := requestNamed("one", "v")
	check(t, tracker.Add(request))
	disowned := request.DeepCopy()
	disowned.OwnerReferences = nil
	check(t, tracker.Update(disowned))
	if got := tracker.openOf(web0(), "v"); len(got) != 1 {
		t.Errorf("open are %v", got)
	}
}

// A name can be taken by others when its request is gone. They are not known by it.
func TestTrackerTellsRequestsOfANameApart(t *testing.T) {
	t.Parallel()
	for name, foreign := range map[string]bool{"somebody else's": true, "another one of the pod": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracker := newIdleRequester(t, "https://127.0.0.1:1").tracker
			one := requestNamed("one", "v")
			check(t, tracker.Add(one))
			events, unsubscribe := tracker.subscribe(t.Context(), nameOf(one))
			defer unsubscribe()
			two := requestNamed("one", "v")
			if foreign {
				two.Spec.Username = "alice"
			}
			check(t, tracker.Replace([]any{two}, ""))
			if got := <-events; got.uid != two.UID || got.deleted {
				t.Errorf("got %+v", got)
			}
			known := tracker.ofVolume("v", web0())
			if foreign != (len(known) == 0) || !foreign && known[0].UID != two.UID {
				t.Errorf("known are %+v", known)
			}
			check(t, tracker.Delete(one)) // told late
			if after := tracker.ofVolume("v", web0()); len(after) != len(known) {
				t.Errorf("known are %+v after a late deletion", after)
			}
		})
	}
}

// The name of a request is chosen at random; somebody who has learned it, and taken it
// first, even with a copy of the CSR, does not get the driver to wait for his own.
func TestIssueDoesNotWaitForARequestThatTookTheName(t *testing.T) {
	t.Parallel()
	for name, change := range foreignRequests() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer, order := newFakeIssuer(t), testOrder(t)
			pending, err := order.Prepare()
			check(t, err)
			a := newAPI(t, func(*api, *cmapi.CertificateRequest) *metav1.Status {
				return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusConflict, Reason: metav1.StatusReasonAlreadyExists}
			})
			foreign := signWith(t, issuer, admit(order.certificateRequest(pending)))
			change(foreign)
			a.mu.Lock()
			a.put(foreign)
			a.mu.Unlock()
			requester := a.requester(t)
			if _, err := requester.Issue(t.Context(), order, pending, new(Progress)); !errors.Is(err, ErrNotOurs) || IsTransient(err) {
				t.Errorf("got %v, want ErrNotOurs", err)
			}
			if open := requester.tracker.openOf(web0(), order.VolumeID); len(open) != 0 {
				t.Errorf("open are %v", open)
			}
			for _, call := range a.noted() {
				if strings.HasPrefix(call, http.MethodDelete) {
					t.Errorf("it was deleted: %s", call)
				}
			}
		})
	}
}

// A request that is deleted while it is waited for is not replaced by what gets its
// name, be that signed or not.
func TestIssueDoesNotTakeWhatGotTheName(t *testing.T) {
	t.Parallel()
	issuer := newFakeIssuer(t)
	a := newAPI(t, func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
		other := request.DeepCopy()
		other.UID, other.Spec.Username = "another", "alice"
		a.send("ADDED", signWith(t, issuer, other))
		return nil
	})
	if _, err := issue(t.Context(), a.requester(t), testOrder(t), new(Progress)); !errors.Is(err, ErrDeleted) {
		t.Errorf("got %v, want ErrDeleted", err)
	}
}

// An object of the same name is left alone, and the request counts as gone.
func TestDeleteLeavesWhatGotTheName(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*cmapi.CertificateRequest)
		uid    types.UID // that is known
		stays  bool
	}{
		"the request, by its UID":        {func(r *cmapi.CertificateRequest) { r.UID = "1b2c" }, "1b2c", false},
		"another of the pod, by its UID": {func(*cmapi.CertificateRequest) {}, "1b2c", true},
		"another of a user, by its UID":  {func(r *cmapi.CertificateRequest) { r.Spec.Username = "alice" }, "1b2c", true},
		"the request, its UID unknown":   {func(*cmapi.CertificateRequest) {}, "", false},
		"another of a user, UID unknown": {func(r *cmapi.CertificateRequest) { r.Spec.Username = "alice" }, "", true},
		"another of another pod, UID unknown": {func(r *cmapi.CertificateRequest) {
			r.OwnerReferences[0].UID = "77"
			r.Spec.Extra[policy.ExtraPodUID] = []string{"77"}
		}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, nil)
			request := requestNamed("one", "v")
			row.change(request)
			a.mu.Lock()
			a.put(request)
			a.mu.Unlock()
			check(t, newIdleRequester(t, a.URL).Delete(t.Context(), Ref{nameOf(request), row.uid, web0()}))
			a.mu.Lock()
			defer a.mu.Unlock()
			if stays := a.sent["one"] != nil; stays != row.stays {
				t.Errorf("it is there: %t", stays)
			}
		})
	}
}

// requestOfSecond was created so many seconds after all others, and has a
// condition and a certificate if it is ready.
func requestOfSecond(name, volume string, second int, condition cmapi.CertificateRequestCondition) *cmapi.CertificateRequest {
	request := requestNamed(name, volume)
	request.CreationTimestamp = metav1.NewTime(time.Unix(int64(second), 0))
	if condition.Type != "" {
		request.Status.Conditions = []cmapi.CertificateRequestCondition{condition}
	}
	if condition.Reason == cmapi.CertificateRequestReasonIssued {
		request.Status.Certificate = []byte("certificate")
	}
	return request
}

func TestOfVolumeTellsOfTheLatestFirst(t *testing.T) {
	t.Parallel()
	const long = "csi-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	issued := set(cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, "")
	denied := set(cmapi.CertificateRequestConditionDenied, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonDenied, "")
	requester := newIdleRequester(t, "https://127.0.0.1:1")
	for _, request := range []*cmapi.CertificateRequest{
		requestOfSecond("a-first", "a", 1, issued),
		requestOfSecond("a-denied", "a", 4, denied),
		requestOfSecond("a-open", "a", 5, cmapi.CertificateRequestCondition{}),
		requestOfSecond("a-later", "a", 3, issued),
		requestOfSecond("a-also-first", "a", 1, issued),
		requestOfSecond("b", "b", 9, issued),
		requestOfSecond("long", long, 2, issued),
	} {
		check(t, requester.tracker.Add(request))
	}
	for _, row := range []struct {
		name, volume string
		want, issued []string
	}{
		{"by time, then by name", "a", []string{"a-open", "a-denied", "a-later", "a-also-first", "a-first"}, []string{"a-later", "a-also-first", "a-first"}},
		{"another volume", "b", []string{"b"}, []string{"b"}},
		{"an ID longer than a label", long, []string{"long"}, []string{"long"}},
		{"an unknown volume", "c", nil, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var names, issued []string
			for _, known := range requester.OfVolume(row.volume, web0()) {
				names = append(names, known.Request.Name)
				if known.Issued {
					issued = append(issued, known.Request.Name)
				}
				if known.Created.IsZero() || known.Request.Namespace != "sandbox" {
					t.Errorf("incomplete: %+v", known)
				}
			}
			if !slices.Equal(names, row.want) || !slices.Equal(issued, row.issued) {
				t.Errorf("got %q, issued %q; want %q, issued %q", names, issued, row.want, row.issued)
			}
		})
	}
}
