// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

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
