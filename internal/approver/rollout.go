// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"slices"
	"sync"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// rollout remembers the policies that were in force within the grace period.
type rollout struct {
	mu      sync.Mutex
	current policy.Policy
	earlier []expiring
}

// expiring is a policy that is not in force any more, and until when what it
// allowed is still approved.
type expiring struct {
	policy policy.Policy
	until  time.Time
}

// change puts a policy in force. The one before it is honoured for the grace
// period.
func (r *rollout) change(to policy.Policy, now time.Time, grace time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if to == r.current {
		return
	}
	if r.current != (policy.Policy{}) {
		r.earlier = append(r.earlier, expiring{r.current, now.Add(grace)})
	}
	r.current = to
	r.earlier = slices.DeleteFunc(r.earlier, func(e expiring) bool { return e.policy == to })
}

// at returns what is known at a time.
func (r *rollout) at(now time.Time) policy.Rollout {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.earlier = slices.DeleteFunc(r.earlier, func(e expiring) bool { return !e.until.After(now) })
	known := policy.Rollout{Current: r.current}
	for _, e := range r.earlier {
		known.Earlier = append(known.Earlier, e.policy)
	}
	return known
}
