// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// withHistory keeps so many requests of documents that live for 9 s.
func withHistory(limit int) []setting {
	return []setting{
		func(*world) string { return "certificate: {duration: 9s, privateKey: {size: 256}}" },
		func(*world) string { return fmt.Sprintf("certificateRequests: {historyLimit: %d}", limit) },
	}
}

// requestNames are those of the requests that there are, the earliest first.
func (w *world) requestNames() []string {
	requests := w.requests()
	slices.SortFunc(requests, func(a, b cmapi.CertificateRequest) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	names := make([]string, len(requests))
	for i, request := range requests {
		names[i] = request.Name
	}
	return names
}

// renewals waits until a volume has been renewed so many times.
func (w *world) renewals(target string, count int) {
	w.t.Helper()
	for i := range count {
		before := w.generation(target)
		w.eventually(fmt.Sprintf("renewal %d", i+1), func() bool { return w.generation(target) != before })
	}
}

// takeUp has both daemons take up a changed line of the configuration.
func (w *world) takeUp(line string) {
	w.t.Helper()
	c := w.changedConfig(line)
	w.ofApprover.Set(c)
	w.ofDriver.Set(c)
}

// noRenewalIsNear reports whether all volumes have documents that last for long.
func (w *world) noRenewalIsNear() bool {
	for _, volume := range w.driver.List().Volumes {
		if volume.Expires.Sub(volume.Issued).Minutes() < 30 {
			return false
		}
	}
	return true
}

// As many issued requests stay as the configuration says, the latest ones, through
// renewals and a restart, and none when the volume is gone.
func TestHistoryLimit(t *testing.T) {
	for _, limit := range []int{0, 1, 3} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			w := prepare(t, append(withHistory(limit), func(*world) string { return "rollout: {reissueWindow: 0s}" })...)
			w.startApprover()
			stop := w.startDriver()
			pod := w.pod("web-0")
			target := w.publish(pod)
			w.renewals(target, limit+1)
			w.takeUp("certificate: {duration: 1h, privateKey: {size: 256}}")
			w.eventually("no renewal is near", w.noRenewalIsNear)
			w.eventually("only the latest are kept", func() bool { return len(w.requests()) == limit })
			kept, before := w.requestNames(), w.generation(target)
			stop()

			w.startDriver()
			w.publish(pod)
			if w.generation(target) != before || !slices.Equal(w.requestNames(), kept) {
				t.Errorf("the restart changed what is kept: %v became %v", kept, w.requestNames())
			}
			w.takeUp("certificate: {duration: 1h, privateKey: {size: 384}}") // another document, once
			w.eventually("a re-issue", func() bool { return w.generation(target) != before })
			w.eventually("one more has come, and the earliest has gone", func() bool {
				now := w.requestNames()
				return len(now) == limit && (limit == 0 || !slices.Contains(now, kept[0]))
			})
			if limit > 1 && !slices.Contains(w.requestNames(), kept[limit-1]) {
				t.Errorf("kept %v before, and now %v", kept, w.requestNames())
			}
			w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
			w.eventually("nothing is left of the volume", func() bool { return len(w.requests()) == 0 })
		})
	}
}

// A change of the limit takes effect for every volume at once, though none is due.
func TestHistoryLimitIsFollowed(t *testing.T) {
	w := newWorld(t, withHistory(3)...)
	var pods []*corev1.Pod
	for i := range 3 {
		pod := w.pod(fmt.Sprint("web-", i))
		pods = append(pods, pod)
	}
	var targets []string
	for _, pod := range pods {
		targets = append(targets, w.publish(pod))
	}
	for _, target := range targets {
		w.renewals(target, 1)
	}
	w.eventually("more than one of each volume is there", func() bool { return len(w.requests()) >= 6 })
	w.takeUp("certificate: {duration: 1h, privateKey: {size: 256}}")
	w.eventually("no renewal is near", w.noRenewalIsNear)
	for _, limit := range []int{2, 1, 0} {
		w.ofDriver.Set(w.changedConfig(fmt.Sprintf("certificateRequests: {historyLimit: %d}", limit)))
		w.eventually(fmt.Sprintf("%d of each are left", limit), func() bool { return len(w.requests()) == limit*len(pods) })
	}
}

// With no history, the request goes when the document is in the volume. A driver
// that was killed between the two leaves that to the next one, which asks for
// nothing.
func TestHistoryLimitZeroAfterAKill(t *testing.T) {
	w := prepare(t, withHistory(1)...)
	w.config = w.changedConfig("certificate: {duration: 1h}")
	w.startApprover()
	stop := w.startDriver()
	pod := w.pod("web-0")
	target := w.publish(pod)
	left, before := w.onlyRequest(), w.generation(target)
	stop() // the request is there, as after a kill

	w.ofDriver.Set(w.changedConfig("certificateRequests: {historyLimit: 0}"))
	w.startDriver()
	w.publish(pod)
	w.eventually("the next process deletes it", func() bool { return len(w.requests()) == 0 })
	if w.generation(target) != before {
		t.Error("the volume got a document that was not due")
	}
	if text := w.log.String(); strings.Count(text, "msg=published") != 1 || strings.Contains(text, "msg=renewed") {
		t.Errorf("request %s was not the only one", left.Name)
	}
}

// What no volume wants is deleted whatever the limit is: requests of volumes that
// are not there, and those of a volume that brought no certificate.
func TestHistoryLimitKeepsNoStrays(t *testing.T) {
	// The admission policies would reject the strays.
	w := newWorld(t, append(withHistory(3), withoutAdmission)...)
	w.config = w.changedConfig("certificate: {duration: 1h}")
	w.ofDriver.Set(w.config)
	w.ofApprover.Set(w.config)
	pod := w.pod("web-0")
	w.publish(pod)
	kept := w.onlyRequest()
	for _, volume := range []string{kept.Labels["spiffe.csi.cert-manager.io/volume"], "csi-unknown"} {
		w.podRequest(pod, "stray", w.ownLabels(volume), kept.Annotations)
	}
	w.eventually("the strays are deleted", func() bool {
		return slices.Equal(w.requestNames(), []string{kept.Name})
	})
}
