// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"testing"
	"time"

	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

func TestRolloutHonoursWhatWasInForce(t *testing.T) {
	t.Parallel()
	start := time.Now()
	a, b, c := policy.Policy{Duration: 1}, policy.Policy{Duration: 2}, policy.Policy{Duration: 3}
	var r rollout
	r.change(a, policy.Others{}, start, time.Minute)
	r.change(a, policy.Others{}, start, time.Minute)
	r.change(b, policy.Others{}, start.Add(10*time.Second), time.Minute)
	r.change(c, policy.Others{}, start.Add(20*time.Second), time.Minute)
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
	r.change(a, policy.Others{}, start.Add(30*time.Second), time.Minute)
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
			e, _ := approver.undecided.get("ours")
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

// A file that shortens the grace period must not do so for what it changes,
// unless it says that the change cannot wait.
func TestGracePeriodOfAChange(t *testing.T) {
	t.Parallel()
	start := time.Now()
	a, b, c := policy.Policy{Duration: 1}, policy.Policy{Duration: 2}, policy.Policy{Duration: 3}
	for name, test := range map[string]struct {
		before, after time.Duration
		earlier       int
		patience      time.Duration
	}{
		"shorter":            {time.Minute, time.Second, 2, time.Minute},
		"longer":             {time.Second, time.Minute, 2, time.Minute},
		"the same":           {time.Minute, time.Minute, 2, time.Minute},
		"none: takes effect": {time.Minute, 0, 0, 0},
		"none before":        {0, time.Minute, 1, time.Minute},
	} {
		var r rollout
		r.change(a, policy.Others{}, start, test.before)
		r.change(b, policy.Others{}, start, test.before)
		r.change(c, policy.Others{}, start, test.after)
		known, patience := r.at(start.Add(time.Second / 2))
		if len(known.Earlier) != test.earlier || patience != test.patience {
			t.Errorf("%s: %d earlier policies and %s of patience, want %d and %s", name, len(known.Earlier), patience, test.earlier, test.patience)
		}
	}
}

// The issuer that a file replaces is to be listed in that file.
func TestFormerIssuer(t *testing.T) {
	t.Parallel()
	issuer := func(name string) policy.Policy {
		return policy.Policy{IssuerRef: policy.IssuerRef{Name: name, Kind: "ClusterIssuer"}, Duration: 1}
	}
	listed := policy.Others{Former: []policy.IssuerRef{{Name: "before", Kind: "ClusterIssuer", Group: "cert-manager.io"}}}
	longer := issuer("before")
	longer.Duration = 2
	for name, test := range map[string]struct {
		before, after policy.Policy
		others        policy.Others
		want          string
	}{
		"at the start":        {policy.Policy{}, issuer("now"), policy.Others{}, ""},
		"the same issuer":     {issuer("before"), longer, policy.Others{}, ""},
		"another":             {issuer("before"), issuer("now"), policy.Others{}, "ClusterIssuer.cert-manager.io/before"},
		"another, listed":     {issuer("before"), issuer("now"), listed, ""},
		"another, not listed": {issuer("earlier"), issuer("now"), listed, "ClusterIssuer.cert-manager.io/earlier"},
	} {
		var r rollout
		r.change(test.before, policy.Others{}, time.Now(), time.Minute)
		if got := r.formerIssuer(test.after, test.others); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
	var r rollout
	r.change(issuer("now"), listed, time.Now(), time.Minute)
	if !r.isOurs(cmmeta.IssuerReference{Name: "before", Kind: "ClusterIssuer"}) || r.isOurs(cmmeta.IssuerReference{Name: "other", Kind: "ClusterIssuer"}) {
		t.Error("a former issuer does not count as one of SVIDs, or any does")
	}
}
