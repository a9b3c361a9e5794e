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

// attach mounts a volume at a folder, read-only from its first moment, also as other
// mount namespaces see it: the driver's is that of its container, the kubelet's and
// the container runtime's is the host's. A mount that is made takes its flags there
// along; what is changed of it later does not go there.
//
// there is whether the volume is at the target and is not read-only: an earlier
// version, or an older kernel, has made it so. Such a mount is made read-only for this
// namespace. It must not be covered by another: it is a peer of the volume's tmpfs, and
// what is mounted over it is over the volume's directory, too.
func (s *Store) attach(id, target string, there bool) error {
	err := error(unix.ENOSYS)
	if !s.inTwoSteps && !there {
		err = attachReadOnly(s.DataPath(id), target)
	}
	// A container's seccomp filter that does not know the calls may refuse them.
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return s.attachInTwoSteps(id, target, there)
	}
	if err != nil {
		return fmt.Errorf("mounting volume %s at %s: %w", id, target, err)
	}
	s.step("volume mounted")
	return nil
}

// attachReadOnly makes a mount that is nowhere yet, gives it its flags, and puts it
// in its place. It is no peer of the tmpfs: whatever is mounted over it one day stays
// there. It needs Linux 5.12 (mount_setattr).
func attachReadOnly(source, target string) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer func() { _ = unix.Close(tree) }()
	flags := unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
		Propagation: unix.MS_PRIVATE,
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &flags); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// attachInTwoSteps is attach for older kernels, which take the flags of a bind mount
// in a second step only. A process may be killed between the two; and where the
// driver is in a container, the host does not see that the mount is read-only.
func (s *Store) attachInTwoSteps(id, target string, there bool) error {
	if !there {
		if err := unix.Mount(s.DataPath(id), target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting volume %s at %s: %w", id, target, err)
		}
		s.step("volume mounted")
	}
	const flags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("", target, "", flags, ""); err != nil {
		return fmt.Errorf("making volume %s read-only at %s: %w", id, target, err)
	}
	s.step("mount made read-only")
	return nil
}
