// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOldestUndecided(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		approver := newApproverThrough(t, inProcess((&api{}).inProcess).access())
		defer approver.denials.broadcaster.Shutdown()
		want := func(what string, age time.Duration) {
			t.Helper()
			if got := approver.metrics.oldestAge(); got != age.Seconds() {
				t.Errorf("%s: %v s, want %s", what, got, age)
			}
		}
		want("nothing waits", 0)
		old, young, other := named("old", "ca"), named("young", "ca"), named("other", "ca")
		old.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
		young.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Minute))
		other.CreationTimestamp = metav1.NewTime(time.Now().Add(-2 * time.Hour))
		approver.see(t, old, young, other)
		for _, v := range approver.undecided.stores {
			e := v.waiting[other.UID]
			e.other = true
			v.waiting[other.UID] = e
		}
		want("the oldest for an SVID counts", time.Hour)
		approver.undecided.postpone(old.UID, time.Now().Add(time.Minute))
		want("what is put off does not count", time.Minute)
		time.Sleep(time.Minute)
		want("it counts again", time.Hour+time.Minute)
		approver.see(t, decidedNow(old))
		want("what is decided does not count", 2*time.Minute)
	})
}
