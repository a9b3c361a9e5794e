// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WritePending keeps what belongs to a request for a volume that is under way,
// its key among it, until [Store.RemovePending] or [Store.Remove]. It lies
// beside the files that the pod sees, readable by root alone, and replaces what
// was kept before in one step. The volume's directory is made if need be.
func (s *Store) WritePending(id string, data []byte) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if err := s.Ensure(); err != nil {
		return err
	}
	if err := makeDir(filepath.Join(s.root, id), privateDirMode); err != nil {
		return fmt.Errorf("making the directory of volume %s: %w", id, explain(err))
	}
	if err := replaceFile(s.pendingPath(id), data); err != nil {
		return fmt.Errorf("keeping the request of volume %s: %w", id, explain(err))
	}
	s.step("pending request written")
	return nil
}

// ReadPending returns what [Store.WritePending] has kept. The error wraps
// [ErrNotFound] if there is nothing.
func (s *Store) ReadPending(id string) ([]byte, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(s.pendingPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return data, err
}

// RemovePending deletes what is kept, and the volume's directory if there is
// nothing else in it. That there is nothing is not an error.
func (s *Store) RemovePending(id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if err := os.Remove(s.pendingPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("volume %s: %w", id, explain(err))
	}
	_ = os.Remove(filepath.Join(s.root, id)) // it fails if something is in it
	s.step("pending request removed")
	return nil
}

// RemoveData deletes the files and metadata of a volume that is not mounted, and
// keeps the request that is under way for it.
func (s *Store) RemoveData(id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	for _, path := range []string{s.DataPath(id), s.metadataPath(id), s.metadataPath(id) + newSuffix} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("removing the files of volume %s: %w", id, err)
		}
	}
	_ = os.Remove(filepath.Join(s.root, id)) // it fails if something is in it
	return nil
}

func (s *Store) pendingPath(id string) string { return filepath.Join(s.root, id, "pending.json") }

// newSuffix is of a file that is about to replace another.
const newSuffix = ".new"

// replaceFile replaces a file by rename, so that a reader, or a process started
// after this one was killed, finds the old or the new whole. A directory in its
// place is damage, and goes.
func replaceFile(path string, content []byte) error {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(path + newSuffix); err != nil {
		return err
	}
	if err := os.WriteFile(path+newSuffix, content, 0o600); err != nil {
		return errors.Join(err, os.RemoveAll(path+newSuffix))
	}
	return os.Rename(path+newSuffix, path)
}
