// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mount"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// tmpfsSource is the device name of the store's tmpfs in the mount table. It
// tells the store's own tmpfs from a host directory that happens to be on one.
const tmpfsSource = "csi-driver-spiffe"

// tmpfsOptions keeps documents from being run, or taken for devices.
const tmpfsOptions = "nosuid,nodev,noexec,mode=0700"

// timeForReaders is for how long files stay after they were replaced: whoever
// has opened the directory behind ..data reads both halves of the pair from it.
const timeForReaders = 5 * time.Second

// noSwap keeps documents out of swap (Linux 6.4 and later).
const noSwap = "noswap"

// ErrNotMounted is returned while the store has no tmpfs: keys are written to
// one, or nowhere.
var ErrNotMounted = errors.New("the tmpfs for keys and certificates is not there")

// New returns the store at root, an absolute path, without looking whether its
// tmpfs is there; see [Store.Ensure].
func New(root string, settings ...Setting) *Store {
	s := &Store{root: root, step: func(string) {}, readers: timeForReaders, retired: map[string]struct{}{}}
	for _, set := range settings {
		set(s)
	}
	// The mount table has no symbolic links, and /var/run often is one. What
	// fails here fails again in Ensure, and is told there.
	if err := os.MkdirAll(root, privateDirMode); err == nil {
		if resolved, err := filepath.EvalSymlinks(root); err == nil {
			s.root = resolved
		}
	}
	return s
}

// Open returns the store at root, an absolute path, mounting a tmpfs there
// unless one of an earlier process is there already. The tmpfs is never swapped
// out where the kernel knows how (Linux 6.4 and later). Open needs the right to
// mount: root, or root of a user namespace.
func Open(root string, settings ...Setting) (*Store, error) {
	s := New(root, settings...)
	if err := s.Ensure(); err != nil {
		return nil, err
	}
	return s, nil
}

// Ensure makes sure that the store's tmpfs is at its root, and mounts one if it
// is not. The error wraps [ErrNotMounted] if that cannot be done. It is cheap
// where the tmpfs is, and called before each write: should somebody unmount it,
// keys must not land on the disk beneath.
func (s *Store) Ensure() error {
	s.mounting.Lock()
	defer s.mounting.Unlock()
	if s.noMounts != nil {
		return os.MkdirAll(s.root, privateDirMode)
	}
	var seen unix.Stat_t
	if s.device != 0 && unix.Stat(s.root, &seen) == nil && seen.Dev == s.device {
		return nil
	}
	s.device, s.failure = 0, nil
	err := s.mount()
	if err == nil {
		err = unix.Stat(s.root, &seen)
	}
	if err != nil {
		s.failure = fmt.Errorf("%w: %w", ErrNotMounted, err)
		return s.failure
	}
	s.device = seen.Dev
	return nil
}

// Ready returns nil, or why the tmpfs could not be mounted when that was last
// tried.
func (s *Store) Ready() error {
	s.mounting.Lock()
	defer s.mounting.Unlock()
	return s.failure
}

func (s *Store) mount() error {
	if err := os.MkdirAll(s.root, privateDirMode); err != nil {
		return fmt.Errorf("making volume.tmpfsPath: %w", err)
	}
	resolved, err := filepath.EvalSymlinks(s.root)
	if err != nil {
		return fmt.Errorf("resolving volume.tmpfsPath: %w", err)
	}
	own, err := ownTmpfs(resolved)
	if err != nil {
		return fmt.Errorf("reading the mount table: %w", err)
	}
	if own != nil {
		s.swappable = !slices.Contains(strings.Split(own.VFSOptions, ","), noSwap)
		return nil
	}
	options := tmpfsOptions + "," + s.sizeOption()
	if s.swappable, err = mountTmpfs(resolved, options); err != nil {
		return fmt.Errorf("mounting a tmpfs at volume.tmpfsPath %s: %w (mounting needs root, or CAP_SYS_ADMIN)", s.root, err)
	}
	s.step("tmpfs mounted")
	return nil
}

// ownTmpfs returns what is seen at root if it is a tmpfs of ours, else nil. The mount
// table lists mounts in the order in which they were made, so the last one at a
// path is the one on top; but one over a parent directory may hide it.
func ownTmpfs(root string) (*mountinfo.Info, error) {
	var seen unix.Stat_t
	if err := unix.Stat(root, &seen); err != nil {
		return nil, err
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.Mountpoint != root, false
	})
	if err != nil || len(mounts) == 0 {
		return nil, err
	}
	top := mounts[len(mounts)-1]
	if hidden := deviceOf(top) != seen.Dev; top.FSType != "tmpfs" || top.Source != tmpfsSource || hidden {
		return nil, nil //nolint:nilnil // That there is none is no error.
	}
	return top, nil
}

// deviceOf is the device of what is mounted, as stat tells it.
func deviceOf(m *mountinfo.Info) uint64 {
	return unix.Mkdev(uint32(m.Major), uint32(m.Minor)) //nolint:gosec // The kernel's own numbers, which have 32 bits.
}

// deviceNow is the device of the tmpfs that is mounted now.
func (s *Store) deviceNow() uint64 {
	s.mounting.Lock()
	defer s.mounting.Unlock()
	return s.device
}

// HoldsVolumes reports whether an earlier process has left volumes of pods, damaged
// ones too. It mounts nothing.
func (s *Store) HoldsVolumes() bool {
	if own, err := ownTmpfs(s.root); err != nil || own == nil {
		return false
	}
	ids, err := s.List()
	return err == nil && slices.ContainsFunc(ids, func(id string) bool {
		_, err := os.Lstat(s.DataPath(id)) // which a mere request has not
		return err == nil
	})
}

func mountTmpfs(root, options string) (swappable bool, err error) {
	err = mount.Mount(tmpfsSource, root, "tmpfs", options+","+noSwap)
	// Older kernels do not know the option, and user namespaces may not use it.
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		return true, mount.Mount(tmpfsSource, root, "tmpfs", options)
	}
	return false, err
}

// IsShared reports whether mounts at the store's root reach other mount
// namespaces. Where the driver runs in a container and they do not, the tmpfs
// ends with the container, and running pods are left with what they have.
func (s *Store) IsShared() (bool, error) {
	if s.noMounts != nil {
		return true, nil
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.Mountpoint != s.root, false
	})
	if err != nil || len(mounts) == 0 {
		return false, err
	}
	return strings.Contains(mounts[len(mounts)-1].Optional, "shared:"), nil
}

// Resize gives a tmpfs of an earlier process the size that is wanted now. It
// fails, and changes nothing, if more than that is in it.
func (s *Store) Resize() error {
	if s.noMounts != nil {
		return nil
	}
	const flags = unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	options := s.sizeOption()
	if !s.Swappable() {
		// Many kernels take a remount without it for the wish to swap, and refuse.
		options += "," + noSwap
	}
	if err := unix.Mount("", s.root, "", flags, options); err != nil {
		return fmt.Errorf("setting the size of the tmpfs at volume.tmpfsPath %s: %w", s.root, err)
	}
	return nil
}

func (s *Store) sizeOption() string {
	if s.size == 0 {
		return "size=50%" // the kernel's default, in words that a remount takes too
	}
	return "size=" + strconv.FormatInt(s.size, 10)
}

// Close unmounts the store's tmpfs. The documents in it are destroyed when they
// are not mounted into pods any more either. A driver that will be started again
// must not close its store.
func (s *Store) Close() error {
	return mount.Unmount(s.root)
}
