// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// reserve is the space, and spareFiles the number of files, that new and growing
// volumes leave to the renewals of those that are there: the files of an SVID take
// four pages of 4 KiB or so, and a renewal needs them once more.
const (
	reserve    = 512 << 10
	spareFiles = 128
)

var (
	// ErrFull is returned where there is no room in the tmpfs.
	ErrFull = errors.New("the tmpfs for keys and certificates is full (volume.tmpfsSize)")
	// ErrReadOnly is returned where the tmpfs was made read-only by somebody.
	ErrReadOnly = errors.New("the tmpfs for keys and certificates is read-only")
)

// HasRoom returns nil if there is room for one more volume, leaving what live
// ones need for their renewals. The error wraps [ErrFull], [ErrReadOnly] or
// [ErrNotMounted].
func (s *Store) HasRoom() error {
	if err := s.Ensure(); err != nil {
		return err
	}
	return s.roomFor(space{}, 0)
}

// space is what files take.
type space struct{ bytes, files int64 }

// roomFor returns nil if what renewals need is left when this much is taken: the
// reserve, but at least as much as the largest, for that is renewed as well.
func (s *Store) roomFor(taken space, largest int64) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(s.root, &stat); err != nil {
		return fmt.Errorf("looking at volume.tmpfsPath %s: %w", s.root, err)
	}
	spare := max(reserve, largest)
	switch {
	case stat.Flags&unix.ST_RDONLY != 0:
		return fmt.Errorf("%w: %s: remount it read-write", ErrReadOnly, s.root)
	case stat.Blocks > 0 && int64(stat.Bfree)*stat.Bsize-taken.bytes < spare: //nolint:gosec // So much memory is nowhere.
		return fmt.Errorf("%w: %s would have less than %d KiB left, which are kept for renewals", ErrFull, s.root, spare>>10)
	case stat.Files > 0 && int64(stat.Ffree)-taken.files < spareFiles: //nolint:gosec // see above
		return fmt.Errorf("%w: %s can hold only %d more files", ErrFull, s.root, stat.Ffree)
	}
	return nil
}

// explain adds to an error of the file system what it means here.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	default:
		return err
	}
}

// WriteReserving is [Store.Write] for what is new, or may grow: it leaves free what
// the renewals of all volumes need, and fails with [ErrFull] and changes nothing
// where that cannot be. Files that take no more than those that the volume has are
// written as Write does, so that what has become smaller makes room.
//
// Several writes at a time do not take the same space.
func (s *Store) WriteReserving(id string, files map[string][]byte, meta Metadata) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if err := s.Ensure(); err != nil {
		return err
	}
	need := spaceOf(files)
	if need.bytes > s.spaceOfCurrent(id) {
		letGo, err := s.claim(need)
		if err != nil {
			return err
		}
		defer letGo()
	}
	return s.write(id, files, meta)
}

// claim keeps space until it is let go of. What is written meanwhile counts twice,
// which is on the safe side: who is refused for that comes again.
func (s *Store) claim(need space) (letGo func(), err error) {
	s.claiming.Lock()
	defer s.claiming.Unlock()
	all := space{s.claimed.bytes + need.bytes, s.claimed.files + need.files}
	err = s.roomFor(all, need.bytes)
	if errors.Is(err, ErrFull) {
		s.dropRetired()
		err = s.roomFor(all, need.bytes)
	}
	if err != nil {
		return nil, err
	}
	s.claimed = all
	return func() {
		s.claiming.Lock()
		defer s.claiming.Unlock()
		s.claimed.bytes -= need.bytes
		s.claimed.files -= need.files
	}, nil
}

// spaceOf is what a generation of files takes: they fill whole pages of memory, and
// each has a link beside it.
func spaceOf(files map[string][]byte) space {
	const directories = 3
	need := space{files: int64(2*len(files) + directories)}
	for _, content := range files {
		need.bytes += pages(int64(len(content)))
	}
	return need
}

// spaceOfCurrent is how many bytes the files take that are in force; 0 if there are
// none.
func (s *Store) spaceOfCurrent(id string) (bytes int64) {
	entries, err := os.ReadDir(filepath.Join(s.DataPath(id), dataLink))
	if err != nil {
		return 0
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			bytes += pages(info.Size())
		}
	}
	return bytes
}

// pages rounds up to whole pages.
func pages(bytes int64) int64 {
	page := int64(os.Getpagesize())
	return (bytes + page - 1) / page * page
}
