// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package mounts

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// ErrOccupied means that a target is another volume's. A kubelet without faults does not
// ask for that; one with faults must not reach another pod.
var ErrOccupied = errors.New("target_path is in use by another volume")

// TargetRegistry knows which volume is at a target path, or is about to be mounted there,
// or unmounted. The zero value is ready for use, by many goroutines.
type TargetRegistry struct {
	mu sync.Mutex
	by map[string]string
}

// Volume returns the ID of the volume that is at a target, or "".
func (r *TargetRegistry) Volume(target string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.by[target]
}

// Check fails with [ErrOccupied] if another volume than the given one is at the target.
func (r *TargetRegistry) Check(target, id string) error {
	if by := r.Volume(target); by != "" && by != id {
		return occupiedBy(target, by)
	}
	return nil
}

// Claim notes that a volume is at the target from now on. It fails with [ErrOccupied] if
// another one is.
func (r *TargetRegistry) Claim(target, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if by := r.by[target]; by != "" && by != id {
		return occupiedBy(target, by)
	}
	if r.by == nil {
		r.by = map[string]string{}
	}
	r.by[target] = id
	return nil
}

// Targets returns the targets at which a volume is, or is about to be.
func (r *TargetRegistry) Targets(id string) (targets []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for target, by := range r.by {
		if by == id {
			targets = append(targets, target)
		}
	}
	return targets
}

// Release notes that the volume is not at the target.
func (r *TargetRegistry) Release(target, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by[target] == id {
		delete(r.by, target)
	}
}

// ReleaseAll notes that a volume is at no target any more.
func (r *TargetRegistry) ReleaseAll(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.by, func(_, by string) bool { return by == id })
}

// Unmount unmounts a volume at its target, wherever else it is registered, and where it
// was published, which may be empty. Whatever else is mounted at the target goes, too: the
// kubelet gives what an earlier driver has mounted there the same volume ID. It fails with
// [ErrOccupied] if another volume is at the target. The volume stays registered until
// [TargetRegistry.ReleaseAll].
func (r *TargetRegistry) Unmount(id, target, published string) error {
	wasThere := r.Volume(target) == id
	if err := r.Claim(target, id); err != nil {
		return err
	}
	elsewhere := r.Targets(id)
	if published != "" && r.Check(published, id) == nil {
		elsewhere = append(elsewhere, published)
	}
	for _, other := range elsewhere {
		if other == target {
			continue
		}
		if err := volume.Unmount(other); err != nil {
			return err
		}
	}
	err := volume.Unmount(target)
	if err != nil && !wasThere {
		r.Release(target, id)
	}
	return err
}

func occupiedBy(target, id string) error {
	return fmt.Errorf("%w: %s is that of volume %s, which is unpublished first", ErrOccupied, observe.Quote(target), id)
}
