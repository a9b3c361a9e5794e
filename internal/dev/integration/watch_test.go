// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// silent lets no watch tell of any change, and deletions take long: the API server is
// slow. What there is at the start is listed.
func silent(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	query := r.URL.Query()
	switch {
	case query.Get("sendInitialEvents") == "true":
		testkit.Refuse(metav1.Status{Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid})(w, r, forward)
	case query.Get("watch") == "true":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case r.Method == http.MethodDelete:
		select {
		case <-time.After(2 * time.Second):
			forward(w, r)
		case <-r.Context().Done():
		}
	default:
		forward(w, r)
	}
}

// A volume that is unpublished and published again has one open request at a time,
// also when no watch has shown the one before.
func TestWatchThatIsBehindMakesNoSecondOpenRequest(t *testing.T) {
	w := prepareImpatient(t)
	proxy := w.behindProxy()
	proxy.Inject(silent)
	w.startDriver() // and no approver: requests stay open
	pod := w.pod("web-0")
	defer w.watchOpenRequests()()
	var first string
	w.eventually("the first request is there", func() bool {
		_, _ = w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		names := w.requestsOf(pod)
		if len(names) == 1 {
			first = names[0]
		}
		return first != ""
	})
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.eventually("the next request takes its place", func() bool {
		_, _ = w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		names := w.requestsOf(pod)
		return len(names) == 1 && names[0] != first
	})
}

// watchEach has the driver watch each of its requests by itself.
func watchEach(*world) string { return "certificateRequests: {watch: Request}" }

// watches are those that a driver has open.
type watches struct {
	mu sync.Mutex
	// open counts them by what they select, and all those that there were.
	open map[string]int
	all  int
}

// note is a fault that lets everything pass.
func (o *watches) note(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	if query := r.URL.Query(); query.Get("watch") == "true" {
		selected := query.Get("fieldSelector") + query.Get("labelSelector")
		o.add(selected, 1)
		defer o.add(selected, -1)
	}
	forward(w, r)
}

func (o *watches) add(selected string, count int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open == nil {
		o.open = map[string]int{}
	}
	o.open[selected] += count
	o.all += max(0, count)
	if o.open[selected] == 0 {
		delete(o.open, selected)
	}
}

func (o *watches) state() (open []string, all int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for selected := range o.open {
		open = append(open, selected)
	}
	return open, o.all
}

// The driver watches what it waits for and nothing else, and all that it promises
// holds: SVIDs come and are renewed, and nothing is left.
func TestWatchOnEachRequest(t *testing.T) {
	w := prepare(t, watchEach, func(*world) string { return "certificate: {duration: 9s, privateKey: {size: 256}}" })
	proxy, seen := w.behindProxy(), &watches{}
	proxy.Inject(seen.note)
	w.startApprover()
	w.startDriver()
	requests := w.publishMany(10)
	before := w.generations(requests)
	watched := w.watchOpenRequests()
	w.eventually("every volume is renewed", func() bool {
		for target, generation := range before {
			if w.generation(target) == generation {
				return false
			}
		}
		return true
	})
	watched()
	open, all := seen.state()
	if all < 2*len(requests) {
		t.Errorf("there were %d watches, want one for each of at least %d requests", all, 2*len(requests))
	}
	for _, selected := range open {
		if !strings.HasPrefix(selected, "metadata.name=") {
			t.Errorf("there is a watch on %s", selected)
		}
	}
	w.takeUp("certificate: {duration: 1h, privateKey: {size: 256}}")
	w.eventually("no renewal is near", w.noRenewalIsNear)
	w.eventually("one request of each volume is kept", func() bool { return len(w.requests()) == len(requests) })
	w.eventually("nothing is watched when nothing is waited for", func() bool {
		open, _ := seen.state()
		return len(open) == 0
	})
	for _, request := range requests {
		_, err := w.kubelet.Node.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{
			VolumeId: request.GetVolumeId(), TargetPath: request.GetTargetPath(),
		})
		w.check(err)
	}
	w.eventually("no request is left", func() bool { return len(w.requests()) == 0 })
}

// A request is picked up by the next process, and the watch on it begun anew when it
// was cut: there is never a second one.
func TestWatchOnEachRequestGoesOn(t *testing.T) {
	w := prepare(t, watchEach)
	w.config = w.changedConfig("driver: {httpAddress: '', publishTimeout: 1s}")
	proxy := w.behindProxy()
	stop := w.startDriver()
	pod := w.pod("web-0")
	w.refusedWith(pod, "waiting for approval")
	request := w.onlyRequest().Name
	stop()

	w.startDriver()
	w.refusedWith(pod, "waiting for approval")
	proxy.Away()
	w.startApprover()
	w.requireApproved(request)
	proxy.Inject(nil)
	w.publishSoon(pod)
	if got := w.onlyRequest().Name; got != request {
		t.Errorf("the SVID came from request %s, want %s", got, request)
	}
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.eventually("no request is left", func() bool { return len(w.requests()) == 0 })
}

// What the list has shown may be gone when somebody waits for it, of which no watch
// on it would tell.
func TestWatchOnEachRequestThatIsGone(t *testing.T) {
	w := prepare(t, watchEach)
	w.config = w.changedConfig("driver: {httpAddress: '', publishTimeout: 1s}")
	stop := w.startDriver()
	pod := w.pod("web-0")
	w.refusedWith(pod, "waiting for approval")
	gone := w.onlyRequest()
	stop()

	w.startDriver()
	w.eventually("the driver knows what is there", func() bool { return w.driver.Ready() == nil })
	w.check(w.CertManager.CertmanagerV1().CertificateRequests(gone.Namespace).Delete(t.Context(), gone.Name, metav1.DeleteOptions{}))
	w.startApprover()
	w.publishSoon(pod)
	if got := w.onlyRequest().UID; got == gone.UID {
		t.Error("the request that was deleted is still there")
	}
}
