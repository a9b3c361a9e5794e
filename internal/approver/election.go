// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"errors"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// errLeadershipLost ends a replica that could not renew its Lease: it starts
// again as a candidate.
var errLeadershipLost = errors.New("leadership was lost: the Lease could not be renewed in time")

// elect calls lead while this replica holds the Lease. It returns when ctx
// ends and lead has returned. The Lease is released, so that another replica
// takes over at once; a decision that is under way then does no harm.
func (a *Approver) elect(ctx context.Context, c config.LeaderElection, lead func(context.Context)) error {
	// Held while this replica leads, so that its end can be waited for.
	var leading sync.Mutex
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: c.LeaseName,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: a.namespace, Name: c.LeaseName},
			Client:     a.leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: a.identity},
		},
		LeaseDuration: c.LeaseDuration, RenewDeadline: c.RenewDeadline, RetryPeriod: c.RetryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				leading.Lock()
				defer leading.Unlock()
				a.log.Info("leading", "identity", a.identity, "lease", a.namespace+"/"+c.LeaseName)
				lead(ctx)
			},
			OnStoppedLeading: func() { a.log.Info("not leading", "identity", a.identity) },
			OnNewLeader:      func(identity string) { a.log.Info("leader elected", "identity", identity) },
		},
	})
	if err != nil {
		return fmt.Errorf("approver.leaderElection: %w", err)
	}
	a.lease.SetLeaderElection(elector)
	elector.Run(ctx)
	leading.Lock()
	defer leading.Unlock()
	if ctx.Err() == nil {
		return errLeadershipLost
	}
	return nil
}
