// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"os"
	"path/filepath"
)

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
