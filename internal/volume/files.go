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

	"golang.org/x/sys/unix"
)

const (
	// privateDirMode is of what only the driver enters.
	privateDirMode = 0o700
	// dataDirMode and fileMode let the volume's owner and group read, and
	// nobody write: the pod sees a read-only mount anyhow.
	dataDirMode = 0o550
	fileMode    = 0o440
)

// Write replaces the files of a volume by the given ones (name to content) in
// one step, then its metadata, making the volume if need be. A reader of the
// volume sees all of the old files or all of the new, and one that has opened
// the directory behind ..data keeps the old ones for a few seconds. Files are
// readable by root and by the group meta.FSGroup.
//
// If the files cannot be written, the volume keeps those that it had. If only
// the metadata cannot, the volume has the new files and the old metadata. The
// error wraps [ErrFull], [ErrReadOnly] or [ErrNotMounted] if that is why.
func (s *Store) Write(id string, files map[string][]byte, meta Metadata) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if err := s.Ensure(); err != nil {
		return err
	}
	return s.write(id, files, meta)
}

// write is Write where ID and tmpfs have been looked at.
func (s *Store) write(id string, files map[string][]byte, meta Metadata) error {
	if err := s.makingRoom(func() error { return s.writeFiles(id, files, meta.FSGroup) }); err != nil {
		return fmt.Errorf("writing files of volume %s: %w", id, explain(err))
	}
	if err := s.makingRoom(func() error { return s.writeMetadata(id, meta) }); err != nil {
		return fmt.Errorf("writing metadata of volume %s: %w", id, explain(err))
	}
	return nil
}

// makingRoom writes, and once more without what was kept for readers if there is no
// room.
func (s *Store) makingRoom(write func() error) error {
	err := write()
	if errors.Is(err, unix.ENOSPC) {
		s.dropRetired()
		err = write()
	}
	return err
}

func (s *Store) writeFiles(id string, files map[string][]byte, group *int64) error {
	for name := range files {
		if err := checkFileName(name); err != nil {
			return err
		}
	}
	data := s.DataPath(id)
	if err := s.makeDataDir(id, group); err != nil {
		return err
	}
	// A process that was killed while it wrote may have left something behind.
	if err := s.removeStale(data); err != nil {
		return err
	}
	before, err := currentGeneration(data)
	if err != nil {
		return err
	}
	made, err := s.makeGeneration(data, files, group)
	if err != nil {
		return err
	}
	if err := s.swap(data, made); err != nil {
		return errors.Join(err, os.RemoveAll(filepath.Join(data, made)))
	}
	if err := s.link(data, files); err != nil {
		return err
	}
	if before != "" {
		s.retire(filepath.Join(data, before))
	}
	return nil
}

func (s *Store) makeDataDir(id string, group *int64) error {
	data := s.DataPath(id)
	if err := makeDir(filepath.Join(s.root, id), privateDirMode); err != nil {
		return err
	}
	if err := makeDir(data, dataDirMode); err != nil {
		return err
	}
	s.step("volume directory made")
	// The umask may have taken the group's right to read.
	if err := os.Chmod(data, dataDirMode); err != nil {
		return err
	}
	return chgrp(data, group)
}

// makeDir makes a directory unless it is there. Whatever else has its name is
// damage, and goes.
func makeDir(path string, mode os.FileMode) error {
	err := os.Mkdir(path, mode)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := os.Lstat(path); err != nil || info.IsDir() {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Mkdir(path, mode)
}

// checkFileName refuses what would lead out of the volume, and what begins like
// the names that are kept for generations.
func checkFileName(name string) error {
	if name == "" || name == "." || filepath.Base(name) != name || len(name) >= 2 && name[:2] == ".." {
		return fmt.Errorf("invalid file name %q", name)
	}
	return nil
}

// link makes each file appear under its name, once and for all: what the name
// leads to changes with ..data. Names that are not wanted any more go.
func (s *Store) link(data string, files map[string][]byte) error {
	for name := range files {
		path, to := filepath.Join(data, name), filepath.Join(dataLink, name)
		if seen, err := os.Readlink(path); err == nil && seen == to {
			continue
		}
		// Whatever else is there is not ours, and in the way.
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if err := os.Symlink(to, path); err != nil {
			return err
		}
		s.step("file name made")
	}
	entries, err := os.ReadDir(data)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if _, wanted := files[entry.Name()]; wanted || isReserved(entry.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(data, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// chgrp leaves the owner alone: the driver's user, root.
func chgrp(path string, group *int64) error {
	if group == nil {
		return nil
	}
	if err := os.Chown(path, -1, int(*group)); err != nil {
		return fmt.Errorf("giving it to group %d: %w", *group, err)
	}
	return nil
}

// ReadFile returns the content of one file of a volume.
func (s *Store) ReadFile(id, name string) ([]byte, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(s.DataPath(id), name))
}

// Written returns when the files of a volume that are in force were written, to the
// accuracy of the file system.
func (s *Store) Written(id string) (time.Time, error) {
	if err := CheckID(id); err != nil {
		return time.Time{}, err
	}
	info, err := os.Stat(filepath.Join(s.DataPath(id), dataLink))
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

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
