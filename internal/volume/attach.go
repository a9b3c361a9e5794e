// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

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
