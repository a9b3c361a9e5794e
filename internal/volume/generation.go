// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The files of a volume are symbolic links into ..data, which is one to the
// directory of the generation of files that is in force, as in the volumes of
// the kubelet (kubernetes/pkg/volume/util/atomic_writer.go): renaming a new
// link over it swaps all files at once. Other than there, a replaced generation
// stays for a few seconds, so that nobody loses the race between following the
// link and opening a file.
const (
	dataLink    = "..data"
	newDataLink = "..data_tmp"
)

// isReserved tells the names of generations and links from those of files.
func isReserved(name string) bool { return strings.HasPrefix(name, "..") }

// currentGeneration is the name of the directory behind ..data, or empty if
// there is none.
func currentGeneration(data string) (string, error) {
	current, err := os.Readlink(filepath.Join(data, dataLink))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return current, err
}

// makeGeneration writes files into a directory of their own, and returns its
// name.
func (s *Store) makeGeneration(data string, files map[string][]byte, group *int64) (name string, err error) {
	dir, err := os.MkdirTemp(data, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return "", err
	}
	s.step("generation made")
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	// It is under a directory that only owner and group enter.
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // see above
		return "", err
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, fileMode); err != nil {
			return "", err
		}
		if err := os.Chmod(path, fileMode); err != nil {
			return "", err
		}
		if err := chgrp(path, group); err != nil {
			return "", err
		}
		s.step("file written")
	}
	return filepath.Base(dir), nil
}

// swap puts a generation in force.
func (s *Store) swap(data, generation string) error {
	path := filepath.Join(data, newDataLink)
	if err := os.Symlink(generation, path); err != nil {
		return err
	}
	s.step("next link made")
	if err := os.Rename(path, filepath.Join(data, dataLink)); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	s.step("files swapped")
	return nil
}

// retire deletes a generation that was replaced, when readers have had time to
// finish. If the process ends first, the next one does it.
func (s *Store) retire(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired[path] = struct{}{}
	time.AfterFunc(s.readers, func() {
		s.mu.Lock()
		delete(s.retired, path)
		s.mu.Unlock()
		_ = os.RemoveAll(path) // else the next write does
	})
}

// dropRetired deletes replaced generations at once: the space is needed.
func (s *Store) dropRetired() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path := range s.retired {
		_ = os.RemoveAll(path)
	}
}

// Tidy deletes what a process that was killed has left of earlier files of a
// volume. Readers that have them open are given the time to finish.
func (s *Store) Tidy(id string) {
	data := s.DataPath(id)
	current, err := currentGeneration(data)
	if err != nil || current == "" {
		return // damaged: a write heals that
	}
	entries, err := os.ReadDir(data)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if name := entry.Name(); isReserved(name) && name != dataLink && name != current && name != newDataLink {
			s.retire(filepath.Join(data, name))
		}
	}
}

// removeStale deletes all that begins with two dots but the generation that is
// in force and those that were replaced a moment ago: what a write that failed,
// or a process that was killed while it wrote, has left behind. It holds private
// keys. A ..data that leads nowhere goes too, else the volume could not be
// written again.
func (s *Store) removeStale(data string) error {
	current, err := currentGeneration(data)
	if err != nil {
		if err := os.RemoveAll(filepath.Join(data, dataLink)); err != nil { // not even a link
			return err
		}
	}
	entries, err := os.ReadDir(data)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		path := filepath.Join(data, name)
		if !isReserved(name) || name == dataLink || name == current || s.isRetired(path) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("clearing up after an earlier write: %w", err)
		}
	}
	return nil
}

func (s *Store) isRetired(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, retired := s.retired[path]
	return retired
}
