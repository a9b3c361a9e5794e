// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// mount makes a volume appear in its pod. If there is something else already it is
// mounted over that, and told of: containers that run do not see it.
func (d *Driver) mount(state *volumeState, live *volume.Metadata, target string) error {
	by, err := mounts.Mount(d.store, d.log, state.id, target)
	if err != nil {
		return err
	}
	d.setHidden(state, live, by)
	return nil
}

// detectShadowed is for volumes of an earlier process: what their pods see is not
// written anywhere else than in the mount table.
func (d *Driver) detectShadowed() {
	targets := map[string]string{}
	d.volumes.each(func(state *volumeState) {
		if live := state.metadata(); live != nil {
			targets[state.id] = live.TargetPath
		}
	})
	shadowed := mounts.DetectShadowed(d.store, d.log, targets)
	d.volumes.each(func(state *volumeState) {
		if by := shadowed[state.id]; by != "" {
			d.setHidden(state, state.metadata(), by)
		}
	})
}

func (d *Driver) setHidden(state *volumeState, live *volume.Metadata, by string) {
	state.mu.Lock()
	state.hiddenBy = by
	state.mu.Unlock()
	if by != "" {
		d.warnings.Shadowed(state.id, live.Pod(), by, d.VolumesHidden)
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

// warnSubPath tells if containers do not see the SVID that has just replaced another one.
// It does so once for each volume and process.
func (d *Driver) warnSubPath(state *volumeState, live *volume.Metadata) {
	containers := mounts.SubPathContainers(live.TargetPath)
	state.mu.Lock()
	before := state.subPath
	state.subPath = containers
	state.mu.Unlock()
	if containers != "" && before == "" {
		d.warnings.SubPath(state.id, live.Pod(), containers)
	}
}
