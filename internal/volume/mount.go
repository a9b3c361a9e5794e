// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/mount"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// tmpfsSource is the device name of the store's tmpfs in the mount table. It
// tells the store's own tmpfs from a host directory that happens to be on one.
const tmpfsSource = "csi-driver-spiffe"

// tmpfsOptions keeps documents from being run, or taken for devices.
const tmpfsOptions = "nosuid,nodev,noexec,mode=0700"

// Open returns the store at root, an absolute path, mounting a tmpfs there
// unless one of an earlier process is there already. The tmpfs is never swapped
// out where the kernel knows how (Linux 6.4 and later). Open needs the right to
// mount: root, or root of a user namespace.
func Open(root string) (*Store, error) {
	if err := os.MkdirAll(root, privateDirMode); err != nil {
		return nil, fmt.Errorf("making the volume root: %w", err)
	}
	// The mount table has no symbolic links, and /var/run often is one.
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, fmt.Errorf("resolving the volume root: %w", err)
	}
	mounted, err := hasOwnTmpfs(root)
	if err != nil {
		return nil, fmt.Errorf("reading the mount table: %w", err)
	}
	store := &Store{root: root}
	if !mounted {
		if store.swappable, err = mountTmpfs(root); err != nil {
			return nil, fmt.Errorf("mounting a tmpfs at volume.tmpfsPath %s: %w (mounting needs root, or CAP_SYS_ADMIN)", root, err)
		}
	}
	return store, nil
}

// hasOwnTmpfs reports whether what is seen at root is a tmpfs of ours. The mount
// table lists mounts in the order in which they were made, so the last one at a
// path is the one on top; but one over a parent directory may hide it.
func hasOwnTmpfs(root string) (bool, error) {
	var seen unix.Stat_t
	if err := unix.Stat(root, &seen); err != nil {
		return false, err
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.Mountpoint != root, false
	})
	if err != nil || len(mounts) == 0 {
		return false, err
	}
	top := mounts[len(mounts)-1]
	hidden := unix.Mkdev(uint32(top.Major), uint32(top.Minor)) != seen.Dev //nolint:gosec // The kernel's own numbers, which have 32 bits.
	return top.FSType == "tmpfs" && top.Source == tmpfsSource && !hidden, nil
}

func mountTmpfs(root string) (swappable bool, err error) {
	err = mount.Mount(tmpfsSource, root, "tmpfs", tmpfsOptions+",noswap")
	// Older kernels do not know the option, and user namespaces may not use it.
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		return true, mount.Mount(tmpfsSource, root, "tmpfs", tmpfsOptions)
	}
	return false, err
}

// Close unmounts the store's tmpfs. The documents in it are destroyed when they
// are not mounted into pods any more either. A driver that will be started again
// must not close its store.
func (s *Store) Close() error {
	return mount.Unmount(s.root)
}

// Mount makes a volume appear, read-only, at target, an absolute path that is
// made if need be. Mounting a volume where it is already does nothing.
func (s *Store) Mount(id, target string) error {
	if mounted, err := s.Mounted(id, target); mounted || err != nil {
		return err
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return fmt.Errorf("making the target path: %w", err)
	}
	if err := mount.Mount(s.DataPath(id), target, "none", "bind,ro,nosuid,nodev,noexec"); err != nil {
		return fmt.Errorf("mounting volume %s at %s: %w", id, target, err)
	}
	return nil
}

// Mounted reports whether the volume's directory is what is mounted, read-only,
// at target. It reads no file, so that it can be asked often.
func (s *Store) Mounted(id, target string) (bool, error) {
	if err := CheckID(id); err != nil {
		return false, err
	}
	var here, there unix.Stat_t
	if err := unix.Stat(s.DataPath(id), &here); err != nil {
		return false, ignoreMissing(err)
	}
	if err := unix.Stat(target, &there); err != nil {
		return false, ignoreMissing(err)
	}
	if here.Dev != there.Dev || here.Ino != there.Ino {
		return false, nil
	}
	return isReadOnly(target)
}

// isReadOnly is false for a mount that a process was killed over: a bind mount
// is made first, and made read-only after.
func isReadOnly(target string) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(target, &fs); err != nil {
		return false, ignoreMissing(err)
	}
	return fs.Flags&unix.ST_RDONLY != 0, nil
}

// Unmount removes whatever is mounted at target, and the directory itself. A
// target that is not mounted, or not there at all, is not an error.
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
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the target path: %w", err)
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
