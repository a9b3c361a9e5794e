// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"log/slog"
	"slices"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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

func requestNamed(name, volume string) *cmapi.CertificateRequest {
	return &cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{
		Namespace: "sandbox", Name: name, Labels: map[string]string{LabelVolume: labelValue(volume)},
	}}
}

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

// Of a request that is done the tracker keeps that it is there. Its waiter gets
// the whole, even if it is deleted before the waiter has looked.
func TestTrackerKeepsLittleOfARequestThatIsDone(t *testing.T) {
	t.Parallel()
	tracker := newIdleRequester(t, "https://127.0.0.1:1").tracker
	request := requestNamed("one", "v")
	request.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	request.Annotations = map[string]string{"example.com/team": "blue"}
	check(t, tracker.Add(request))
	if got, known := tracker.get(nameOf(request)); !known || got != request || got.ManagedFields != nil || got.Annotations != nil {
		t.Errorf("kept %v of an open request", got)
	}
	events, unsubscribe := tracker.subscribe(t.Context(), nameOf(request))
	defer unsubscribe()
	done := request.DeepCopy()
	done.Status.Certificate = []byte("certificate")
	done.Status.Conditions = []cmapi.CertificateRequestCondition{
		set(cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, ""),
	}
	check(t, tracker.Update(done))
	if got, known := tracker.get(nameOf(request)); !known || got != nil {
		t.Errorf("kept %v of one that is done", got)
	}
	if open := tracker.openOf("v"); len(open) != 0 {
		t.Errorf("the volume has %v open", open)
	}
	check(t, tracker.Replace(nil, ""))
	if got := <-events; got.request != done || !got.deleted {
		t.Errorf("got %+v, want the whole of it, and that it is gone", got)
	}
	check(t, tracker.ready())
	if _, known := tracker.get(nameOf(request)); known {
		t.Error("it is known still")
	}
}

// What is there when the watch begins, or begins again, is told once.
func TestTrackerTellsOfNewRequestsOnce(t *testing.T) {
	t.Parallel()
	tracker := newIdleRequester(t, "https://127.0.0.1:1").tracker
	var told []string
	tracker.onNew = func(name types.NamespacedName, label string) { told = append(told, name.Name+" of "+label) }
	one, two := requestNamed("one", "v"), requestNamed("two", "w")
	check(t, tracker.Replace([]any{one}, ""))
	check(t, tracker.Update(one.DeepCopy()))
	check(t, tracker.Add(two))
	check(t, tracker.Replace([]any{one.DeepCopy(), two.DeepCopy()}, ""))
	if want := []string{"one of v", "two of w"}; !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q", told, want)
	}
}

func knows(r *Requester, name types.NamespacedName) bool {
	_, known := r.tracker.get(name)
	return known
}
