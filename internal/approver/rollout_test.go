// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

func TestRolloutHonoursWhatWasInForce(t *testing.T) {
	t.Parallel()
	start := time.Now()
	a, b, c := policy.Policy{Duration: 1}, policy.Policy{Duration: 2}, policy.Policy{Duration: 3}
	var r rollout
	r.change(a, false, start, time.Minute)
	r.change(a, false, start, time.Minute)
	r.change(b, false, start.Add(10*time.Second), time.Minute)
	r.change(c, false, start.Add(20*time.Second), time.Minute)
	for name, test := range map[string]struct {
		after   time.Duration
		earlier []policy.Policy
	}{
		"both still":      {21 * time.Second, []policy.Policy{a, b}},
		"the first ended": {70 * time.Second, []policy.Policy{b}},
		"both ended":      {80 * time.Second, nil},
	} {
		// A copy, since looking forgets what has ended.
		seen := rollout{current: r.current, earlier: append([]expiring(nil), r.earlier...)}
		got, _ := seen.at(start.Add(test.after))
		if got.Current != c || len(got.Earlier) != len(test.earlier) {
			t.Fatalf("%s: %+v", name, got)
		}
		for i := range got.Earlier {
			if got.Earlier[i] != test.earlier[i] {
				t.Errorf("%s: %+v, want %+v", name, got.Earlier, test.earlier)
			}
		}
	}
	r.change(a, false, start.Add(30*time.Second), time.Minute)
	if got, _ := r.at(start.Add(31 * time.Second)); got.Current != a || len(got.Earlier) != 2 {
		t.Errorf("after the first has come back: %+v", got)
	}
}

// A stamp that is not known puts a denial off, for the grace period at most.
func TestUnknownStampIsPutOff(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stamp   string
		age     time.Duration
		updates int
		again   bool
	}{
		"no stamp":              {"", 0, 1, false},
		"unknown stamp, young":  {"0123456789abcdef", time.Second, 0, true},
		"unknown stamp, old":    {"0123456789abcdef", time.Hour, 1, false},
		"unknown stamp, future": {"0123456789abcdef", -time.Hour, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := &api{}
			approver := newApprover(t, api)
			request := named("ours", "ca")
			request.Annotations = map[string]string{policy.AnnotationHash: test.stamp}
			request.CreationTimestamp = metav1.NewTime(time.Now().Add(-test.age))
			approver.see(t, request)
			e, _ := approver.inbox.get("ours")
			again, err := approver.decide(t.Context(), e, newQueue(2))
			check(t, err)
			if grace := 2 * time.Minute; again > grace {
				t.Errorf("put off for %s, more than the grace period", again)
			}
			if got := len(api.names()); got != test.updates || (again > 0) != test.again {
				t.Errorf("%d updates, again in %s", got, again)
			}
		})
	}
}

// A file that shortens the grace period must not do so for what it changes.
func TestShorterGracePeriodIsForLaterChanges(t *testing.T) {
	t.Parallel()
	start := time.Now()
	a, b, c := policy.Policy{Duration: 1}, policy.Policy{Duration: 2}, policy.Policy{Duration: 3}
	var r rollout
	r.change(a, false, start, time.Minute)
	r.change(b, false, start, 0)
	if known, grace := r.at(start.Add(59 * time.Second)); len(known.Earlier) != 1 || grace != time.Minute {
		t.Errorf("%d earlier policies and %s of patience, want the old grace period", len(known.Earlier), grace)
	}
	r.change(c, false, start.Add(2*time.Minute), 0)
	if known, grace := r.at(start.Add(2 * time.Minute)); len(known.Earlier) != 0 || grace != 0 {
		t.Errorf("%d earlier policies and %s of patience, want none", len(known.Earlier), grace)
	}
}
