// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"fmt"
	"maps"
	"sync"
)

// errOccupied means that a target is another volume's. A kubelet that keeps its
// books does not ask for that; one that does not must not reach another pod.
var errOccupied = errors.New("target_path is in use by another volume")

// occupied is which volume is at a target path, or is about to be mounted there, or
// unmounted. The zero value is ready for use, by many goroutines.
type occupied struct {
	mu sync.Mutex
	by map[string]string
}

// volume returns the volume that is at a target, or "".
func (o *occupied) volume(target string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.by[target]
}

// check returns an error if another volume than the given one is at the target.
func (o *occupied) check(target, id string) error {
	if by := o.volume(target); by != "" && by != id {
		return occupiedBy(target, by)
	}
	return nil
}

// take notes that a volume is at the target from now on, unless another is.
func (o *occupied) take(target, id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if by := o.by[target]; by != "" && by != id {
		return occupiedBy(target, by)
	}
	if o.by == nil {
		o.by = map[string]string{}
	}
	o.by[target] = id
	return nil
}

// of returns the targets at which a volume is, or is about to be.
func (o *occupied) of(id string) (targets []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for target, by := range o.by {
		if by == id {
			targets = append(targets, target)
		}
	}
	return targets
}

// free notes that a volume is nowhere any more.
func (o *occupied) free(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.by, func(_, by string) bool { return by == id })
}

// leave notes that the volume is not at the target.
func (o *occupied) leave(target, id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by[target] == id {
		delete(o.by, target)
	}
}

func occupiedBy(target, id string) error {
	return fmt.Errorf("%w: %s is that of volume %s, which is unpublished first", errOccupied, quote(target), id)
}
