// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Mount makes a volume appear, read-only, at target, an absolute path that is
// made if need be. Mounting a volume where it is already does nothing.
func (s *Store) Mount(id, target string) error {
	there, readOnly, err := s.seenAt(id, target)
	if err == nil && !there && s.noMounts == nil {
		if err = dropUnusable(target); err == nil { // the volume may have been beneath
			there, readOnly, err = s.seenAt(id, target)
		}
	}
	if err != nil || there && readOnly {
		return err
	}
	if s.noMounts != nil {
		return s.noMounts.mount(id, target)
	}
	if !there {
		if err := os.MkdirAll(target, 0o750); err != nil {
			return fmt.Errorf("making the target path: %w", err)
		}
		s.step("target path made")
	}
	return s.attach(id, target, there)
}

// Mounted reports whether the volume's directory is what is mounted, read-only,
// at target. It reads no file, so that it can be asked often.
func (s *Store) Mounted(id, target string) (bool, error) {
	there, readOnly, err := s.seenAt(id, target)
	return there && readOnly, err
}

// seenAt reports whether the volume's directory is at target, and whether it is
// read-only there; see [Store.attach] for when it is not.
func (s *Store) seenAt(id, target string) (there, readOnly bool, err error) {
	if err := CheckID(id); err != nil {
		return false, false, err
	}
	if s.noMounts != nil {
		there, err = s.noMounts.seenAt(s.DataPath(id), id, target)
		return there, there, err
	}
	var here, seen unix.Stat_t
	if err := unix.Stat(s.DataPath(id), &here); err != nil {
		return false, false, ignoreMissing(err)
	}
	switch err := unix.Stat(target, &seen); {
	case isDead(err):
		return false, false, nil // whatever it is, the volume's file system is alive
	case err != nil:
		return false, false, ignoreMissing(err)
	}
	if here.Dev != seen.Dev || here.Ino != seen.Ino {
		return false, false, nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(target, &fs); err != nil {
		return false, false, ignoreMissing(err)
	}
	return true, fs.Flags&unix.ST_RDONLY != 0, nil
}

// Unmount removes whatever is mounted at target, and the directory itself. A
// target that is not mounted, not a directory, or not there at all, is not an
// error.
func Unmount(target string) error {
	for {
		_, mounted, err := mountAt(target)
		if err != nil {
			return err
		}
		if !mounted {
			break
		}
		if err := unmountTop(target); err != nil {
			return err
		}
	}
	return removeTarget(target)
}

func ignoreMissing(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}
