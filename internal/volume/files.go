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

	"github.com/cert-manager/csi-lib/third_party/util"
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
// volume sees all of the old files or all of the new. Files are readable by
// root and by the group meta.FSGroup.
//
// If the files cannot be written, the volume keeps those that it had. If only
// the metadata cannot, the volume has the new files and the old metadata.
func (s *Store) Write(id string, files map[string][]byte, meta Metadata) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if err := s.writeFiles(id, files, meta.FSGroup); err != nil {
		return fmt.Errorf("writing files of volume %s: %w", id, err)
	}
	if err := s.writeMetadata(id, meta); err != nil {
		return fmt.Errorf("writing metadata of volume %s: %w", id, err)
	}
	return nil
}

func (s *Store) writeFiles(id string, files map[string][]byte, group *int64) error {
	if err := os.MkdirAll(filepath.Join(s.root, id), privateDirMode); err != nil {
		return err
	}
	data := s.DataPath(id)
	if err := os.MkdirAll(data, dataDirMode); err != nil {
		return err
	}
	// The umask may have taken the group's right to read.
	if err := os.Chmod(data, dataDirMode); err != nil {
		return err
	}
	if err := chgrp(data, group); err != nil {
		return err
	}
	// A process that was killed while it wrote may have left a link in the way.
	if err := removeStale(data); err != nil {
		return err
	}
	writer, err := util.NewAtomicWriter(data, "volume "+id)
	if err != nil {
		return err
	}
	setGroup := func(dir string) error {
		for name := range files {
			if err := chgrp(filepath.Join(data, dir, name), group); err != nil {
				return err
			}
		}
		return nil
	}
	if err := writer.Write(projections(files), setGroup); err != nil {
		return errors.Join(err, removeStale(data))
	}
	return nil
}

func projections(files map[string][]byte) map[string]util.FileProjection {
	out := make(map[string]util.FileProjection, len(files))
	for name, content := range files {
		out[name] = util.FileProjection{Data: content, Mode: fileMode}
	}
	return out
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

// removeStale deletes all that begins with two dots but the generation of files
// that is in force: what a write that failed, or a process that was killed while
// it wrote, has left behind. It holds private keys.
func removeStale(data string) error {
	current, err := os.Readlink(filepath.Join(data, "..data"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(data)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, "..") && name != "..data" && name != current {
			if err := os.RemoveAll(filepath.Join(data, name)); err != nil {
				return err
			}
		}
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
