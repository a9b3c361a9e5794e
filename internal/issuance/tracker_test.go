// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"slices"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// newIdleRequester returns a Requester whose watch is never started: the tests
// put into it what it would have seen.
func newIdleRequester(t *testing.T, host string) *Requester {
	t.Helper()
	r, err := NewRequester(&rest.Config{Host: host, BearerToken: "driver", QPS: -1}, "worker-1")
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
	events, unsubscribe := tracker.subscribe(nameOf(one))
	taken(t, tracker, two)
	if got := taken(t, tracker, "not a request"); got != "not a request" {
		t.Errorf("kept %v of what is no request", got)
	}
	tracker.remove(cache.DeletedFinalStateUnknown{Key: "x", Obj: "not a request"})
	if len(events) != 0 {
		t.Fatalf("got %+v, of another request", <-events)
	}
	later := one.DeepCopy()
	later.Status.Certificate = []byte("certificate")
	taken(t, tracker, one)
	taken(t, tracker, later) // nobody has read the first
	if got := <-events; got.request != later || got.deleted {
		t.Errorf("got %+v, want the latest", got)
	}
	tracker.remove(cache.DeletedFinalStateUnknown{Key: "sandbox/one", Obj: later})
	if got := <-events; got.request != later || !got.deleted {
		t.Errorf("got %+v, want its deletion", got)
	}
	unsubscribe()
	taken(t, tracker, one)
	if len(events) != 0 {
		t.Error("an event after the subscription ended")
	}
}

// taken returns what the tracker keeps of what it is given.
func taken(t *testing.T, tracker *tracker, obj any) any {
	t.Helper()
	kept, err := tracker.take(obj)
	check(t, err)
	return kept
}

// Of a request that is done the tracker keeps that it is there. Its waiter gets
// the whole, even if it is deleted before the waiter has looked.
func TestTrackerKeepsLittleOfARequestThatIsDone(t *testing.T) {
	t.Parallel()
	tracker := newIdleRequester(t, "https://127.0.0.1:1").tracker
	request := requestNamed("one", "v")
	request.Spec.Request = []byte("CSR")
	open := taken(t, tracker, request)
	if open != request {
		t.Errorf("kept %v of an open request", open)
	}
	events, unsubscribe := tracker.subscribe(nameOf(request))
	defer unsubscribe()
	done := request.DeepCopy()
	done.Status.Certificate = []byte("certificate")
	done.Status.Conditions = []cmapi.CertificateRequestCondition{
		set(cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, ""),
	}
	short, ok := taken(t, tracker, done).(*metav1.PartialObjectMetadata)
	if !ok || nameOf(short) != nameOf(request) || short.Labels[LabelVolume] != "v" {
		t.Fatalf("kept %+v", short)
	}
	tracker.update(short)
	tracker.remove(short)
	if got := <-events; got.request != done || !got.deleted {
		t.Errorf("got %+v, want the whole of it, and that it is gone", got)
	}
	tracker.update(short)
	if got := <-events; got != (event{}) {
		t.Errorf("got %+v, want to be told to look", got)
	}
}

func TestPruneDeletesTheOtherRequestsOfTheVolume(t *testing.T) {
	t.Parallel()
	const long = "csi-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, row := range []struct {
		name, volume, keep string
		want               []string
	}{
		{"all but one", "a", "a2", []string{"DELETE a1 by Bearer driver", "DELETE a3 by Bearer driver"}},
		{"all", "a", "", []string{"DELETE a1 by Bearer driver", "DELETE a2 by Bearer driver", "DELETE a3 by Bearer driver"}},
		{"keep one that is not there", "b", "gone", []string{"DELETE b1 by Bearer driver"}},
		{"an ID longer than a label", long, "", []string{"DELETE long by Bearer driver"}},
		{"an unknown volume", "c", "", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, nil)
			requester := newIdleRequester(t, a.URL)
			for name, volume := range map[string]string{"a1": "a", "a2": "a", "a3": "a", "b1": "b", "long": long} {
				check(t, requester.tracker.informer.GetIndexer().Add(requestNamed(name, volume)))
			}
			others := requester.Others(row.volume, types.NamespacedName{Namespace: "sandbox", Name: row.keep})
			check(t, requester.Delete(t.Context(), others))
			got := a.noted()
			slices.Sort(got)
			if !slices.Equal(got, row.want) {
				t.Errorf("calls %q, want %q", got, row.want)
			}
		})
	}
}

func TestManagedFieldsAreNotKept(t *testing.T) {
	t.Parallel()
	request := requestNamed("one", "v")
	request.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	got := taken(t, newIdleRequester(t, "https://127.0.0.1:1").tracker, request)
	if fields := got.(*cmapi.CertificateRequest).ManagedFields; fields != nil {
		t.Errorf("kept: %v", fields)
	}
}

func knows(r *Requester, name types.NamespacedName) bool {
	_, known := r.tracker.get(name)
	return known
}
