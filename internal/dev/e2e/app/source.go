// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// A source is SVID and trust bundle of a volume, as they are now: for go-spiffe,
// both an x509svid.Source and an x509bundle.Source.
type source struct {
	dir string

	mu     sync.Mutex
	target string // of ..data, from which the rest was read
	svid   *x509svid.SVID
	roots  []byte
}

// load reads the files anew if they have been replaced. They are read from the
// directory behind ..data, in which they belong together.
func (s *source) load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		target, err := os.Readlink(filepath.Join(s.dir, "..data"))
		if err != nil || target == s.target {
			return err
		}
		folder := filepath.Join(s.dir, target)
		svid, err := x509svid.Load(filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key"))
		var roots []byte
		if err == nil {
			roots, err = os.ReadFile(filepath.Join(folder, "ca.crt"))
		}
		if errors.Is(err, fs.ErrNotExist) {
			if now, _ := os.Readlink(filepath.Join(s.dir, "..data")); now != target {
				continue // replaced while it was being read
			}
		}
		if err != nil {
			return err
		}
		s.target, s.svid, s.roots = target, svid, roots
		return nil
	}
}

func (s *source) id() (spiffeid.ID, error) {
	svid, err := s.GetX509SVID()
	if err != nil {
		return spiffeid.ID{}, err
	}
	return svid.ID, nil
}

// GetX509SVID is for go-spiffe.
func (s *source) GetX509SVID() (*x509svid.SVID, error) {
	if err := s.load(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.svid, nil
}

// GetX509BundleForTrustDomain is for go-spiffe.
func (s *source) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if err := s.load(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return x509bundle.Parse(td, s.roots)
}

func (s *source) rootsNow() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.roots)
}
