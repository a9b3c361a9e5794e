// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
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

// ForeignMounts tells what is mounted at target paths (by volume ID) that is not the
// volume, be it beneath it or in its place: for each ID that has such things their
// file systems and sources, from the top down. A container that was started while
// such a thing was on top goes on seeing that, for mounts do not reach running
// containers. A volume that was there before, and was made anew since, is another
// thing, too.
//
// The mount table is read once, and only if something is mounted there.
func (s *Store) ForeignMounts(targets map[string]string) (map[string]string, error) {
	if s.noMounts != nil {
		return nil, nil
	}
	ids := map[string]string{} // by the path as the mount table has it
	for id, target := range targets {
		if path, mounted, err := mountAt(target); mounted || err != nil {
			ids[path] = id
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return ids[m.Mountpoint] == "", false })
	if err != nil {
		return nil, fmt.Errorf("reading the mount table: %w", err)
	}
	// The table lists mounts in the order in which they were made.
	slices.Reverse(mounts)
	at := map[string][]*mountinfo.Info{}
	for _, m := range mounts {
		at[m.Mountpoint] = append(at[m.Mountpoint], m)
	}
	others := map[string]string{}
	for path, mounts := range at {
		if mounts = s.withoutOwn(ids[path], path, mounts); len(mounts) > 0 {
			others[ids[path]] = describe(mounts)
		}
	}
	return others, nil
}

// withoutOwn leaves the mounts of a volume out of those at its target, if it is on top,
// or beneath a dead file system. That hides it from nobody, and gives way to it.
func (s *Store) withoutOwn(id, target string, mounts []*mountinfo.Info) []*mountinfo.Info {
	device, root := s.deviceNow(), "/"+id+"/data"
	if isDead(unix.Stat(target, new(unix.Stat_t))) {
		mounts = mounts[1:]
	} else if there, _, err := s.seenAt(id, target); err != nil || !there {
		return mounts
	}
	return slices.DeleteFunc(mounts, func(m *mountinfo.Info) bool { return deviceOf(m) == device && m.Root == root })
}

// describe names mounts by their file systems and sources, as df does.
func describe(mounts []*mountinfo.Info) string {
	var words []string
	for _, m := range mounts {
		words = append(words, fmt.Sprintf("a %s of %q", m.FSType, m.Source))
	}
	return strings.Join(words, ", ")
}

// maxRead is how much is read of a file that somebody else may have made, in bytes.
const maxRead = 64 << 10

// removed is what the mount table has behind the root of a mount that was removed.
const removed = "//deleted"

// Targets tells where volumes were mounted first, by volume ID, as the mount table has it:
// also that of a volume whose metadata cannot be read, or whose directory was removed.
func (s *Store) Targets() (map[string]string, error) {
	if s.noMounts != nil {
		return nil, nil
	}
	device := s.deviceNow()
	targets := map[string]string{}
	_, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		if deviceOf(m) != device {
			return true, false
		}
		// The root is that of the mount in its file system: "/ID/data".
		if folder, name := path.Split(strings.TrimSuffix(m.Root, removed)); name == "data" && path.Dir(path.Clean(folder)) == "/" && CheckID(path.Base(folder)) == nil {
			// What is mounted of it elsewhere later, such as a subPath, is a container's.
			if _, known := targets[path.Base(folder)]; !known {
				targets[path.Base(folder)] = m.Mountpoint
			}
		}
		return true, false
	})
	if err != nil {
		return nil, fmt.Errorf("reading the mount table: %w", err)
	}
	return targets, nil
}

// ReadMounted reads the beginning of a file of whatever is mounted at a target path.
// That may be somebody else's: no link leads out of it, and nothing is waited for.
func ReadMounted(target, name string) ([]byte, error) {
	root, err := os.OpenRoot(target)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	file, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s in %s is no file", name, target)
	}
	return io.ReadAll(io.LimitReader(file, maxRead))
}

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
