// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"

	"k8s.io/client-go/util/workqueue"
)

// ChainChecks are the volumes whose certificate chain is to be verified with the trust
// bundle in force. A chain that it does not verify is delivered all the same: the bundle
// may be what is wrong, or be replaced a moment later. So nothing waits for the check,
// which is done by one goroutine beside all else. Make one with [NewChainChecks].
type ChainChecks struct {
	check func(volumeID string)
	queue workqueue.TypedInterface[string]
}

// NewChainChecks returns an empty queue of volumes. The function checks one.
func NewChainChecks(check func(volumeID string)) *ChainChecks {
	return &ChainChecks{check, workqueue.NewTyped[string]()}
}

// Add has a volume checked soon: it has a new SVID, or there is another bundle. However
// often it is added before, it is checked once.
func (c *ChainChecks) Add(volumeID string) { c.queue.Add(volumeID) }

// Run checks volumes until ctx ends, and then those that were added before. It can be
// called once.
func (c *ChainChecks) Run(ctx context.Context) {
	defer context.AfterFunc(ctx, c.queue.ShutDown)()
	for {
		id, ended := c.queue.Get()
		if ended {
			return
		}
		c.check(id)
		c.queue.Done(id)
	}
}
