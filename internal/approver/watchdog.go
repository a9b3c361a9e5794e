// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Why the approver has to be restarted.
var (
	// errLeaseExpired is for a leader that has neither renewed its Lease nor ended.
	errLeaseExpired = errors.New("the Lease of the leader election has expired, and this replica did not notice")
	// errWorkerStuck is for a decision that does not end.
	errWorkerStuck = errors.New("a worker is stuck in a decision")
	// errNotDeciding is for requests that nobody decides.
	errNotDeciding = errors.New("this replica leads and does not decide")
	// errWatchDead is for a watch that is neither answered nor refused.
	errWatchDead = errors.New("the watch on CertificateRequests has ended or hangs")
)

const (
	// leaseTolerance is how long after the Lease has expired the leader may still
	// be taken for healthy; Kubernetes' own components use the same.
	leaseTolerance = 20 * time.Second
	// stuckAfter is how long a decision may be in the hands of a worker, and how
	// long a request may be due before a worker takes it up. Whatever the API server
	// does, fetching a request and writing a decision are each given up after
	// updateTimeout.
	stuckAfter = 2 * updateTimeout
	// silentAfter is how long there may be no outcome of a list or watch, good or
	// bad. The API server ends a watch after ten minutes at most, and one that
	// cannot begin fails within listwatch.LongestCall.
	silentAfter = 20 * time.Minute
)

// Healthy returns nil, or why this replica has to be restarted. It is for a
// liveness probe, and fails when
//
//   - this replica holds the Lease, and has neither renewed it nor ended in time;
//   - a worker has been in one decision for longer than stuckAfter;
//   - this replica leads, a request has been due for longer than stuckAfter, and
//     it is not because of others: it is not waiting in the queue at all, or no
//     worker has taken anything from the queue for as long;
//   - a watch has ended, or there has been no outcome of a call for silentAfter.
//
// A restart must be of use: it stays nil while the API server or cert-manager's
// webhook is away, slow or refuses, while a right is missing, while a request
// waits for a policy that may be on its way, and while a backlog is worked off,
// however long that takes. Those are for [Approver.Ready] and the metrics. A
// replica that stands by is healthy if its watch and its election are.
func (a *Approver) Healthy(context.Context) error {
	now := time.Now()
	if err := a.lease.Check(nil); err != nil {
		return fmt.Errorf("%w: %w", errLeaseExpired, err)
	}
	if err := a.sources.alive(now); err != nil {
		return err
	}
	return a.stalled(now)
}

// stalled returns nil if this replica does not lead, or decides what is due.
func (a *Approver) stalled(now time.Time) error {
	queue := a.undecided.activeQueue()
	if queue == nil {
		return nil
	}
	if i, since := queue.fair.order.longestInHand(); !since.IsZero() && now.Sub(since) > stuckAfter {
		return fmt.Errorf("%w: about request %s of namespace %s, for %s", errWorkerStuck, i.uid, i.namespace, now.Sub(since).Round(time.Second))
	}
	oldest, ok := a.undecided.oldestDue(queue, now.Add(-stuckAfter))
	if !ok || queue.fair.order.isServed(oldest.item(), now.Add(-stuckAfter)) {
		return nil
	}
	// It may have been decided since it was looked up.
	if e, ok := a.undecided.get(oldest.request.UID); !ok || !e.due.Equal(oldest.due) {
		return nil
	}
	return fmt.Errorf("%w: request %s/%s has been due for %s, and no worker takes it", errNotDeciding,
		oldest.request.Namespace, oldest.request.Name, now.Sub(oldest.dueIn(queue)).Round(time.Second))
}
