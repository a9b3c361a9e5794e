// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"encoding/pem"
	"fmt"
	"runtime"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/contents"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// VolumesBehind returns how many live volumes do not have the trust bundle that is
// in force, or not the files that the configuration asks for.
func (d *Driver) VolumesBehind() int { return d.fanOut.Count() }

// newRewrites returns what brings volumes that are behind up to date. It is work
// for the processor, and a pod that is being published should not wait for it.
func (d *Driver) newRewrites() *issuance.Scheduler {
	return issuance.NewScheduler(max(4, runtime.GOMAXPROCS(0)), d.rewrite)
}

// catchUp has every live volume that is behind written anew, soon.
func (d *Driver) catchUp() { d.volumes.each(d.compare) }

// compare has a volume written anew if it is live and behind. It is called
// whenever what is asked for has changed, and whenever a volume has: one of the
// two comes last, and sees both.
func (d *Driver) compare(state *volumeState) {
	d.comparing.Lock()
	defer d.comparing.Unlock()
	live := state.metadata()
	if live != nil && d.isBehind(d.config.Current(), live) {
		d.fanOut.Outdated(state.id)
		d.rewrites.ScheduleAfter(state.id, 0)
		return
	}
	d.rewrites.Cancel(state.id)
	d.fanOut.CaughtUp(state.id).Log(d.log)
}

// rewriteLock is how long a rewrite waits for a volume that somebody else changes.
// Who does that may wait for an issuer, and the other volumes must not.
const rewriteLock = 50 * time.Millisecond

// rewrite writes the files of a live volume anew, with the document that is there.
// The schedule of rewrites calls it.
func (d *Driver) rewrite(ctx context.Context, id string, _ func()) {
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	locking, cancel := context.WithTimeout(ctx, rewriteLock)
	defer cancel()
	if state.lock(locking) != nil {
		d.rewrites.ScheduleAfter(id, time.Second)
		return
	}
	defer state.unlock()
	live := state.metadata()
	if live == nil || !d.isBehind(d.config.Current(), live) {
		d.compare(state)
		return
	}
	written := *live
	if err := d.rewriteFiles(id, &written); err != nil {
		failures, change := d.fanOut.Failed(id)
		if failures == 0 { // what is asked for has changed meanwhile, and it has that
			return
		}
		change.Log(d.log)
		wait := issuance.Backoff(failures)
		d.log.Error("a live volume could not be written anew; it keeps what it has", "volume", id, "pod", live.Pod(),
			"failures", failures, "retryIn", wait, "error", err)
		d.rewrites.ScheduleAfter(id, wait)
		return
	}
	state.rewritten(&written)
	d.log.Debug("written anew", "volume", id, "pod", live.Pod(), "trustBundle", written.TrustBundle)
	d.compare(state)
}

// rewriteFiles keeps the SVID to the byte. Of the key it looks only at whether there is
// one: to parse it would take most of the time, and it was whole when it was written.
func (d *Driver) rewriteFiles(id string, meta *volume.Metadata) error {
	var pair [2][]byte
	for i, name := range []string{meta.Files.Certificate, meta.Files.PrivateKey} {
		data, err := d.store.ReadFile(id, name)
		if err != nil {
			return err
		}
		if block, _ := pem.Decode(data); block == nil {
			return fmt.Errorf("%s of volume %s is damaged", name, id)
		}
		pair[i] = data
	}
	if _, err := pemcerts.Parse(pair[0]); err != nil {
		return fmt.Errorf("%s of volume %s: %w", meta.Files.Certificate, id, err)
	}
	return d.writeFiles(id, contents.Parts{Chain: pair[0], Key: pair[1]}, true, meta)
}

// rewritten is setMetadata for a volume whose document is the same as before.
func (s *volumeState) rewritten(live *volume.Metadata) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = live
}
