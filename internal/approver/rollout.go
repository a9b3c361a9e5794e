// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"slices"
	"sync"
	"time"

	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// rollout remembers the policies that were in force within the grace period.
type rollout struct {
	mu      sync.Mutex
	current policy.Policy
	// others says which requests to other issuers are approved as well.
	others policy.Others
	// generation counts the changes, among them that an earlier policy is not
	// honoured any more.
	generation int
	// grace is the present grace period.
	grace   time.Duration
	earlier []expiring
}

// expiring is a policy that is not in force any more, and until when what it
// allowed is still approved.
type expiring struct {
	policy policy.Policy
	until  time.Time
	// grace is the grace period that it is honoured for.
	grace time.Duration
}

// change puts a policy in force. The one before it is honoured for the grace
// period, the one before or the one now, whichever is longer: a file that makes
// it shorter must not do so for itself. A grace period of zero is for a change
// that cannot wait: then nothing earlier is honoured any more.
func (r *rollout) change(to policy.Policy, others policy.Others, now time.Time, grace time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.others.Equal(others) || r.current != to {
		r.generation++
	}
	r.others = others
	hold := max(r.grace, grace)
	r.grace = grace
	if grace == 0 {
		hold, r.earlier = 0, nil
	}
	if to == r.current {
		return
	}
	if r.current != (policy.Policy{}) && hold > 0 {
		r.earlier = append(r.earlier, expiring{r.current, now.Add(hold), hold})
	}
	r.current = to
	r.earlier = slices.DeleteFunc(r.earlier, func(e expiring) bool { return e.policy == to })
}

// at returns what is known at a time, and for how long after its creation a
// request with a stamp that is not known is waited for.
func (r *rollout) at(now time.Time) (known policy.Rollout, grace time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	known, grace = policy.Rollout{Current: r.current, Others: r.others}, r.grace
	for _, e := range r.earlier {
		known.Earlier = append(known.Earlier, e.policy)
		grace = max(grace, e.grace)
	}
	return known, grace
}

// scopes returns which requests are to be watched from a time on, and when that
// changes by itself: zero if it does not.
func (r *rollout) scopes(now time.Time) (needed []scope, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	for _, e := range r.earlier {
		needed = append(needed, scope{issuer: e.policy.IssuerRef.Defaulted()})
		if until.IsZero() || e.until.Before(until) {
			until = e.until
		}
	}
	if r.others.Approve {
		// What is left alone is not kept, and may have to be looked at again: so
		// there is another watch after each change.
		return []scope{{generation: r.generation}}, until
	}
	return append(needed, scope{issuer: r.current.IssuerRef.Defaulted()}), until
}

// isOurs reports whether a request is to the issuer of SVIDs, or to one that was
// that within the grace period.
func (r *rollout) isOurs(ref cmmeta.IssuerReference) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current.IssuerRef.Names(ref) ||
		slices.ContainsFunc(r.earlier, func(e expiring) bool { return e.policy.IssuerRef.Names(ref) })
}

// expire needs the lock.
func (r *rollout) expire(now time.Time) {
	before := len(r.earlier)
	r.earlier = slices.DeleteFunc(r.earlier, func(e expiring) bool { return !e.until.After(now) })
	if len(r.earlier) != before {
		r.generation++
	}
}
