// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// TargetState is what there is at a target path.
type TargetState struct {
	// Exists is whether there is anything, most often a folder.
	Exists bool
	// Mounted is whether something is mounted there, whatever that is.
	Mounted bool
	// Dead is whether that is a file system whose daemon or server is gone.
	Dead bool
	// Own is whether that is the volume itself, be it read-only or not yet.
	Own bool
}

// InspectTarget tells what there is at a target path that a volume is to be mounted at.
func (s *Store) InspectTarget(id, target string) (TargetState, error) {
	if err := CheckID(id); err != nil {
		return TargetState{}, err
	}
	var place TargetState
	place.Own, _, _ = s.seenAt(id, target)
	if place.Mounted = place.Own; s.noMounts == nil {
		var err error
		if _, place.Mounted, err = mountAt(target); err != nil {
			return TargetState{}, err
		}
	}
	// Of a mount whose file system is dead nothing can be said but that it is there.
	_, err := os.Stat(target)
	place.Dead = place.Mounted && isDead(err)
	_, err = os.Lstat(target)
	place.Exists = err == nil || place.Mounted
	return place, nil
}

// UndoMount takes a volume away from a target path where there was something else
// before, or nothing, and leaves that as it was: it unmounts nothing but the volume,
// and removes no folder but one that was made since.
func (s *Store) UndoMount(id, target string, before TargetState) error {
	for !before.Own {
		there, _, err := s.seenAt(id, target)
		if err != nil {
			return err
		}
		if !there {
			break
		}
		if s.noMounts != nil {
			s.noMounts.unmount(target)
		} else if err := unmountTop(target); err != nil {
			return err
		}
	}
	if before.Exists || before.Mounted {
		return nil
	}
	return removeTarget(target)
}

// removeTarget removes the folder at a target path. What is not a folder is not the
// driver's, and stays.
func removeTarget(target string) error {
	if err := unix.Rmdir(target); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("removing the target path: %w", err)
	}
	return nil
}
