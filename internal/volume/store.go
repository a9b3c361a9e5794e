// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// MaxIDLength is the greatest length of a volume ID in bytes. The kubelet's
// IDs of ephemeral volumes are 68 bytes long, and the CSI spec allows 128
// ("Size Limits").
const MaxIDLength = 128

var (
	// ErrInvalidID is returned for a volume ID that cannot be a file name:
	// empty, longer than [MaxIDLength], or with bytes beyond letters, digits,
	// dots, underscores and hyphens.
	ErrInvalidID = errors.New("invalid volume ID")
	// ErrNotFound is returned where the store has no such volume.
	ErrNotFound = errors.New("volume not found")
	// ErrDamaged is returned where a volume's metadata cannot be read. The
	// volume can be written again, which heals it.
	ErrDamaged = errors.New("volume metadata is damaged")
)

// idPattern is narrower than the CSI spec, which allows any string: an ID
// becomes a directory name, so path separators and leading dots are refused.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// CheckID returns an error wrapping [ErrInvalidID] if id cannot name a volume.
func CheckID(id string) error {
	if len(id) > MaxIDLength {
		return fmt.Errorf("%w: %d bytes long, at most %d are allowed", ErrInvalidID, len(id), MaxIDLength)
	}
	if !idPattern.MatchString(id) {
		return fmt.Errorf("%w %q: only letters, digits, '.', '_' and '-' are allowed, beginning with a letter or digit", ErrInvalidID, id)
	}
	return nil
}

// Store is the directory of all volumes of this node. Make one with [Open], or
// with [New] where it is to be mounted later. It is safe for use by many
// goroutines, as long as each volume is changed by one at a time.
type Store struct {
	root string
	// size is the most bytes that the tmpfs may hold; 0: the kernel's default.
	size int64
	// step is told what has just been done.
	step func(name string)
	// inTwoSteps is whether mounts are made as on older kernels, which a test can ask for.
	inTwoSteps bool
	// readers is for how long files stay after they were replaced.
	readers time.Duration

	// mounting is held while the tmpfs is looked for or mounted.
	mounting sync.Mutex
	// device is that of the tmpfs, 0 before it has been seen.
	device uint64
	// failure is why it could not be mounted when that was last tried.
	failure   error
	swappable bool
	// noMounts stands in for mounts, or is nil.
	noMounts *noMounts

	// claiming is held while claimed is looked at or changed: the space that writes
	// which are under way have been promised.
	claiming sync.Mutex
	claimed  space

	mu sync.Mutex
	// retired are the replaced generations of files that readers may have open.
	retired map[string]struct{}
}

// Setting changes how a store works.
type Setting func(*Store)

// WithSize limits the tmpfs to this many bytes. 0 is the kernel's default, half
// of the memory.
func WithSize(bytes int64) Setting { return func(s *Store) { s.size = bytes } }

// WithSteps has step called after each thing that is done to files and mounts,
// by the name of what was done: a process may be killed between any two of
// them, and a test can do that.
func WithSteps(step func(name string)) Setting {
	return func(s *Store) {
		if step != nil {
			s.step = step
		}
	}
}

// Swappable reports whether the kernel may swap out what is in the store: it did not
// know tmpfs without swap when this process, or an earlier one, mounted it.
func (s *Store) Swappable() bool {
	s.mounting.Lock()
	defer s.mounting.Unlock()
	return s.swappable
}

// Root returns the directory under which the store keeps its volumes, which is
// the mount point of its tmpfs.
func (s *Store) Root() string { return s.root }

// DataPath returns the directory of a volume that is bind-mounted into the pod.
func (s *Store) DataPath(id string) string {
	return filepath.Join(s.root, id, "data")
}

// List returns the IDs of all volumes that have a directory, readable or not,
// in alphabetical order. Whatever else lies in the root is passed over; see
// [Store.Strays].
func (s *Store) List() ([]string, error) {
	ids, _, err := s.list()
	return ids, err
}

// Strays returns the names of what lies in the root and is no volume, in
// alphabetical order. The store neither uses nor deletes it.
func (s *Store) Strays() ([]string, error) {
	_, strays, err := s.list()
	return strays, err
}

// lockName cannot be the name of a volume.
const lockName = ".lock"

// LockPath is the file in the tmpfs by which whoever uses the store can keep others
// away. The store itself does not look at it.
func (s *Store) LockPath() string { return filepath.Join(s.root, lockName) }

func (s *Store) list() (ids, strays []string, err error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, nil, fmt.Errorf("listing volumes in volume.tmpfsPath %s: %w", s.root, err)
	}
	for _, entry := range entries {
		switch {
		case entry.IsDir() && CheckID(entry.Name()) == nil:
			ids = append(ids, entry.Name())
		case entry.Name() != lockName:
			strays = append(strays, entry.Name())
		}
	}
	return ids, strays, nil
}

// Remove deletes a volume with everything in it. A volume that does not exist
// is not an error. The bind mount must be gone by then; see [Unmount].
func (s *Store) Remove(id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(s.root, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing volume %s: %w", id, err)
	}
	s.step("volume removed")
	return nil
}
