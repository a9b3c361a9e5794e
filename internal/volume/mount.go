// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"os"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Mount makes a volume appear, read-only, at target, an absolute path that is
// made if need be. Mounting a volume where it is already does nothing.
func (s *Store) Mount(id, target string) error {
	there, readOnly, err := s.seenAt(id, target)
	if err != nil || there && readOnly {
		return err
	}
	if s.plain != nil {
		return s.plain.mount(id, target)
	}
	if !there {
		if err := dropDead(target); err != nil {
			return err
		}
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
	if s.plain != nil {
		there, err = s.plain.seenAt(s.DataPath(id), id, target)
		return there, there, err
	}
	var here, seen unix.Stat_t
	if err := unix.Stat(s.DataPath(id), &here); err != nil {
		return false, false, ignoreMissing(err)
	}
	if err := unix.Stat(target, &seen); err != nil {
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

// dropDead unmounts a directory that was deleted under its mount. Nothing is left
// in it, and nothing can be mounted over it.
func dropDead(target string) error {
	var seen unix.Stat_t
	for unix.Stat(target, &seen) == nil && seen.Nlink == 0 {
		if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting %s, whose volume was deleted: %w", target, err)
		}
	}
	return nil
}

// Unmount removes whatever is mounted at target, and the directory itself. A
// target that is not mounted, not a directory, or not there at all, is not an
// error.
func Unmount(target string) error {
	for {
		mounted, err := mountinfo.Mounted(target)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("looking at %s: %w", target, err)
		}
		if !mounted {
			break
		}
		if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmounting %s: %w", target, err)
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
