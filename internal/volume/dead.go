// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// isDead reports whether an error is what a file system says whose daemon or server is
// gone: FUSE without its process, NFS without its export, a disk that was pulled out
// (as k8s.io/mount-utils has it, IsCorruptedMnt).
func isDead(err error) bool {
	return slices.ContainsFunc([]error{unix.ENOTCONN, unix.ECONNABORTED, unix.ESTALE, unix.EIO, unix.EHOSTDOWN},
		func(is error) bool { return errors.Is(err, is) })
}

// mountAt reports whether something is mounted at a target, and the target's path as
// the mount table has it. It asks nothing of what is mounted, which may be dead: only
// the folder that it is in must be there. A link at the target is not followed.
func mountAt(target string) (path string, mounted bool, err error) {
	folder, err := filepath.EvalSymlinks(filepath.Dir(target))
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("looking at %s: %w", target, err)
	}
	path = filepath.Join(folder, filepath.Base(target))
	if mounted, sure := isMountPoint(path); sure {
		return path, mounted, nil
	}
	mounted, err = isInTable(path)
	return path, mounted, err
}

// isInTable is for a path as the mount table has it.
func isInTable(path string) (bool, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(path))
	if err != nil {
		return false, fmt.Errorf("reading the mount table: %w", err)
	}
	return len(mounts) > 0, nil
}

// isMountPoint is isInTable without the table, which takes long on a node with many
// pods. It is not sure of anything before Linux 5.6 (openat2).
func isMountPoint(path string) (mounted, sure bool) {
	folder, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, false
	}
	defer func() { _ = unix.Close(folder) }()
	last, err := unix.Openat2(folder, filepath.Base(path), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV,
	})
	switch {
	case err == nil:
		_ = unix.Close(last)
		return false, true
	case errors.Is(err, unix.ENOENT):
		return false, true
	}
	return true, errors.Is(err, unix.EXDEV)
}

// DropDead unmounts the file systems at a target that are dead, for the sake of what
// is beneath.
func DropDead(target string) error {
	for {
		err := unix.Stat(target, new(unix.Stat_t))
		if !isDead(err) {
			return nil
		}
		if _, mounted, _ := mountAt(target); !mounted { // so is what it is in
			return fmt.Errorf("looking at %s: %w", target, err)
		}
		if err := unmountTop(target); err != nil {
			return err
		}
	}
}

// dropUnusable unmounts what nobody can use: a file system that is dead, or a directory
// that was deleted under its mount. Nothing is left in that, and nothing can be mounted
// over it.
func dropUnusable(target string) error {
	for {
		if err := DropDead(target); err != nil {
			return err
		}
		var seen unix.Stat_t
		if err := unix.Stat(target, &seen); err != nil || seen.Nlink > 0 {
			return ignoreMissing(err)
		}
		if err := unmountTop(target); err != nil {
			return err
		}
	}
}

// unmountTop unmounts what is on top at a target, also if it is in use: what cannot be
// unmounted keeps a pod from ending, and who uses it has it until it lets go of it.
func unmountTop(target string) error {
	if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmounting %s: %w", target, err)
	}
	return nil
}
