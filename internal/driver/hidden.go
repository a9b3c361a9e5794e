// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"sync"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// reasonHidden is of a Warning on the driver's own pod: there are pods that go on
// seeing what was mounted before the driver's volume, as after one driver has taken
// the place of another.
const reasonHidden = "VolumeHidden"

// eventEvery is how often there is an Event of one reason at most: it names one pod and the
// number of all, and a node may have a hundred.
const eventEvery = time.Minute

// eventLimit is when there last was an Event of a reason. The zero value is ready for use.
type eventLimit struct {
	mu sync.Mutex
	at time.Time
}

// due reports whether there may be another.
func (h *eventLimit) due(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.at.IsZero() && now.Sub(h.at) < eventEvery {
		return false
	}
	h.at = now
	return true
}

// hiddenNote says what hides a volume, and what to do.
func hiddenNote(by string) string {
	return "containers that were started before see what was mounted there first (" + by + "), which nobody renews: delete the pod, so that another takes its place"
}

// mount makes a volume appear in its pod. If there is something else already it is
// mounted over that, and told of: containers that run do not see it.
func (d *Driver) mount(state *volumeState, live *volume.Metadata, target string) error {
	if err := volume.DropDead(target); err != nil { // which hides a volume from nobody
		d.log.Warn("a mount at the target whose file system is dead cannot be taken away", "volume", state.id, "error", err)
	}
	others, err := d.store.ForeignMounts(map[string]string{state.id: target})
	if err != nil {
		d.log.Warn("cannot tell whether there is another mount at the target", "volume", state.id, "error", err)
	}
	if err := d.store.Mount(state.id, target); err != nil {
		return err
	}
	d.setHidden(state, live, others[state.id])
	return nil
}

// lookBeneath is for volumes of an earlier process: what their pods see is not
// written anywhere else than in the mount table.
func (d *Driver) lookBeneath() {
	targets := map[string]string{}
	d.volumes.each(func(state *volumeState) {
		if live := state.metadata(); live != nil {
			targets[state.id] = live.TargetPath
		}
	})
	others, err := d.store.ForeignMounts(targets)
	if err != nil {
		d.log.Warn("cannot tell whether there are other mounts beneath volumes", "error", err)
	}
	d.volumes.each(func(state *volumeState) {
		if by := others[state.id]; by != "" {
			d.setHidden(state, state.metadata(), by)
		}
	})
}

func (d *Driver) setHidden(state *volumeState, live *volume.Metadata, by string) {
	state.mu.Lock()
	state.hiddenBy = by
	state.mu.Unlock()
	if by == "" {
		return
	}
	note := hiddenNote(by)
	d.log.Warn("a volume may be hidden from its pod: something else was mounted there first; delete the pod, so that another takes its place",
		"volume", state.id, "pod", live.Pod(), "hiddenBy", by)
	if d.hiddenTold.due(time.Now()) {
		d.tell(true, reasonHidden, fmt.Sprintf("pod %s: %s; `csi-driver-spiffe volumes` on node %s lists all of them (%d now)",
			live.Pod(), note, d.owner.Node, d.VolumesHidden()))
	}
}

// VolumesHidden returns how many live volumes were mounted over something else,
// which containers may see that were started before.
func (d *Driver) VolumesHidden() (hidden int) {
	d.volumes.each(func(state *volumeState) {
		state.mu.Lock()
		defer state.mu.Unlock()
		if state.hiddenBy != "" {
			hidden++
		}
	})
	return hidden
}
