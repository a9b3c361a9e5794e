// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// WithoutMounts keeps volumes in plain folders and mounts nothing, for simulations
// of many nodes on one machine: what is "mounted" is an empty folder at the target.
// Everything else is as it is with mounts. No daemon may use it, for keys would be
// wherever root is, and no pod would see anything.
func WithoutMounts() Setting { return func(s *Store) { s.noMounts = &noMounts{at: map[string]string{}} } }

// noMounts is what stands in for the mount table.
type noMounts struct {
	mu sync.Mutex
	// at is what volume is at a target.
	at map[string]string
}

func (p *noMounts) mount(id, target string) error {
	if err := os.MkdirAll(target, 0o750); err != nil {
		return fmt.Errorf("making the target path: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at[target] = id
	return nil
}

func (p *noMounts) unmount(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.at, target)
}

// seenAt reports whether a volume's data is there, and was mounted at a target that
// is there still: [Unmount] removes it.
func (p *noMounts) seenAt(data, id, target string) (bool, error) {
	for _, path := range []string{data, target} {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at[target] == id, nil
}
