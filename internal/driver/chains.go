// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"k8s.io/client-go/util/workqueue"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
)

// chainChecks are the volumes whose certificate chain is to be verified with the trust
// bundle in force. A chain that it does not verify is delivered all the same: the bundle
// may be what is wrong, or be replaced a moment later. So nothing waits for the check,
// which is done by one goroutine beside all else.
type chainChecks struct {
	queue workqueue.TypedInterface[string]
}

func newChainChecks() chainChecks { return chainChecks{workqueue.NewTyped[string]()} }

// add has a volume checked: it has a new SVID, or there is another bundle.
func (c chainChecks) add(volumeID string) { c.queue.Add(volumeID) }

// checkChains checks volumes until ctx ends.
func (d *Driver) checkChains(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			id, ended := d.chains.queue.Get()
			if ended {
				return
			}
			d.checkChain(id)
			d.chains.queue.Done(id)
		}
	}()
	<-ctx.Done()
	d.chains.queue.ShutDown()
	<-done
}

// checkChain verifies the chain in the files of a volume, and warns if that fails, once
// for each chain and bundle.
func (d *Driver) checkChain(id string) {
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	live := state.metadata()
	bundle, _ := d.bundles.Current()
	if live == nil || bundle == nil {
		state.noteUnverified("")
		return
	}
	chain, err := d.store.ReadFile(id, live.Files.Certificate)
	if err != nil {
		return // it is being unpublished, or is damaged, which is told of elsewhere
	}
	about := []any{"volume", id, "pod", live.Pod(), "spiffeID", live.SPIFFEID, "request", live.Request, "trustBundle", bundle.Hash()}
	if err := verifyChain(bundle, chain, time.Now()); err != nil {
		if before := state.noteUnverified(live.Request + " by " + bundle.Hash()); before != live.Request+" by "+bundle.Hash() {
			d.log.Warn("the trust bundle in force does not verify the certificate chain of a volume: "+
				"peers with this bundle reject it; add the root of the issuer to trustBundle.path", append(about, "error", err)...)
		}
		return
	}
	if before := state.noteUnverified(""); before != "" {
		d.log.Info("the trust bundle in force verifies the certificate chain of a volume again", about...)
	}
}

func verifyChain(bundle *trustbundle.Bundle, data []byte, now time.Time) error {
	chain, err := pemcerts.Parse(data)
	if err != nil {
		return err
	}
	return bundle.Verify(chain, now)
}

// noteUnverified notes which chain and bundle do not go together, or none, and returns
// what was noted before.
func (s *volumeState) noteUnverified(what string) (before string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.unverified = s.unverified, what
	return before
}
