// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package trustbundle

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// Source reads bundle files and remembers the last good one of each path. The
// zero value is ready for use, by many goroutines.
type Source struct {
	mu   sync.Mutex
	good map[string][]byte
}

// Read returns the bundle in the file at path, in PEM. If the file cannot be
// used now, it returns the last good bundle together with the error, or nil if
// there has never been one.
func (s *Source) Read(path string) ([]byte, error) {
	bundle, err := load(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return s.good[path], fmt.Errorf("trustBundle.path %s: %w", path, err)
	}
	if s.good == nil {
		s.good = map[string][]byte{}
	}
	s.good[path] = bundle
	return bundle, nil
}

func load(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err != nil {
		return nil, err
	}
	return Parse(data)
}
