// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"net/http"
	"testing"
	"time"

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
