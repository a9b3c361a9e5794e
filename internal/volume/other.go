// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

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
