// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// newIdleRequester returns a Requester whose watch is never started: the tests
// put into it what it would have seen.
func newIdleRequester(t *testing.T, host string) *Requester {
	t.Helper()
	r, err := NewRequester(&rest.Config{Host: host, BearerToken: "driver", QPS: -1}, Owner{Node: "worker-1"}, WatchNode, slog.New(slog.DiscardHandler))
	check(t, err)
	return r
}

// requestNamed is one that pod web-0 has made.
func requestNamed(name, volume string) *cmapi.CertificateRequest {
	return admit(&cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{
		Namespace: "sandbox", Name: name, Labels: map[string]string{LabelVolume: labelValue(volume)},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "web-0", UID: "c2f0f7a1"}},
	}})
}

// web0 is the pod of requestNamed and testOrder.
func web0() Pod { return Pod{"sandbox", "example-app", "web-0", "c2f0f7a1"} }

func TestTrackerHandsOverTheLatestState(t *testing.T) {
	t.Parallel()
	tracker := newIdleRequester(t, "https://127.0.0.1:1").tracker
	one, two := requestNamed("one", "v"), requestNamed("two", "v")
	events, unsubscribe := tracker.subscribe(t.Context(), nameOf(one))
	check(t, tracker.Add(two))
	check(t, tracker.Delete(two))
	if err := tracker.Add("not a request"); err == nil {
		t.Error("took what is no request")
	}
	if len(events) != 0 {
		t.Fatalf("got %+v, of another request", <-events)
	}
	later := one.DeepCopy()
	later.Status.Certificate = []byte("certificate")
	check(t, tracker.Add(one))
	check(t, tracker.Update(later)) // nobody has read the first
	if got := <-events; got.request != later || got.deleted {
		t.Errorf("got %+v, want the latest", got)
	}
	check(t, tracker.Delete(later))
	if got := <-events; got.request != later || !got.deleted {
		t.Errorf("got %+v, want its deletion", got)
	}
	unsubscribe()
	check(t, tracker.Add(one))
	if len(events) != 0 {
		t.Error("an event after the subscription ended")
	}
}

// Of a request the tracker keeps that it is there, whatever is in it. Its waiter gets
// the whole, even if it is deleted before the waiter has looked.
func TestTrackerKeepsLittleOfARequest(t *testing.T) {
	t.Parallel()
	tracker := newIdleRequester(t, "https://127.0.0.1:1").tracker
	request := requestNamed("one", "v")
	request.Annotations = map[string]string{"any": strings.Repeat("x", 1<<20)}
	request.Labels["other"] = "label"
	check(t, tracker.Add(request))
	want := &knownRequest{open: true, pod: web0(), PartialObjectMetadata: metav1.PartialObjectMetadata{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sandbox", Name: "one", UID: request.UID, Labels: map[string]string{LabelVolume: "v"}},
	}}
	if got := tracker.ofVolume("v", web0()); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("kept %+v of an open request", got)
	}
	events, unsubscribe := tracker.subscribe(t.Context(), nameOf(request))
	defer unsubscribe()
	done := request.DeepCopy()
	done.Status.Certificate = []byte("certificate")
	done.Status.Conditions = []cmapi.CertificateRequestCondition{
		set(cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, ""),
	}
	check(t, tracker.Update(done))
	want.open, want.issued = false, true
	if got := tracker.ofVolume("v", web0()); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("kept %+v of one that is done", got)
	}
	check(t, tracker.Replace(nil, ""))
	if got := <-events; got.request != done || !got.deleted {
		t.Errorf("got %+v, want the whole of it, and that it is gone", got)
	}
	check(t, tracker.ready())
	if tracker.knows(nameOf(request)) {
		t.Error("it is known still")
	}
}

// Only what the pod can have asked for has to go before its volume asks anew: any
// namespace may have requests with any labels, and keep them by a finalizer.
func TestOpenRequestsAreThoseOfThePod(t *testing.T) {
	t.Parallel()
	tracker := newIdleRequester(t, "https://127.0.0.1:1").tracker
	kept, foreign := requestNamed("kept", "v"), requestNamed("foreign", "v")
	kept.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	foreign.Namespace = "other"
	admit(foreign)
	for _, request := range []*cmapi.CertificateRequest{requestNamed("open", "v"), requestNamed("of-another", "w"), kept, foreign} {
		check(t, tracker.Add(request))
	}
	if got := tracker.openOf(web0(), "v"); len(got) != 1 || got[0].Name.String() != "sandbox/open" || got[0].UID == "" {
		t.Errorf("got %v", got)
	}
}

// What is there when the watch begins, or begins again, is told once.
func TestTrackerTellsOfNewRequestsOnce(t *testing.T) {
	t.Parallel()
	tracker := newIdleRequester(t, "https://127.0.0.1:1").tracker
	var told []string
	tracker.onNew = func(known Known, label string) { told = append(told, known.Request.Name+" of "+label) }
	one, two := requestNamed("one", "v"), requestNamed("two", "w")
	check(t, tracker.Replace([]any{one}, ""))
	check(t, tracker.Update(one.DeepCopy()))
	check(t, tracker.Add(two))
	check(t, tracker.Replace([]any{one.DeepCopy(), two.DeepCopy()}, ""))
	if want := []string{"one of v", "two of w"}; !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q", told, want)
	}
}
