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

// Store is the directory of all volumes of this node. Make one with [Open].
type Store struct {
	root      string
	swappable bool
}

// Swappable reports whether the kernel may swap out what is in the store: if
// this process has mounted it, and the kernel does not know tmpfs without swap.
func (s *Store) Swappable() bool { return s.swappable }

// Root returns the directory under which the store keeps its volumes, which is
// the mount point of its tmpfs.
func (s *Store) Root() string { return s.root }

// DataPath returns the directory of a volume that is bind-mounted into the pod.
func (s *Store) DataPath(id string) string {
	return filepath.Join(s.root, id, "data")
}

// List returns the IDs of all volumes that have a directory, readable or not,
// in alphabetical order. Whatever else lies in the root is passed over.
func (s *Store) List() ([]string, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, fmt.Errorf("listing volumes in volume.tmpfsPath %s: %w", s.root, err)
	}
	var ids []string
	for _, entry := range entries {
		if entry.IsDir() && CheckID(entry.Name()) == nil {
			ids = append(ids, entry.Name())
		}
	}
	return ids, nil
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
	return nil
}
