// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package trustbundle

import (
	"fmt"
	"sync"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/filewatch"
)

// Source is the trust bundle that is in force: the last good content of a file.
// The zero value has none, and is ready for use, by many goroutines.
type Source struct {
	mu   sync.Mutex
	path string
	good *Bundle
	err  error
}

// Outcome tells of one look at the file.
type Outcome struct {
	// Bundle is the one that is in force now, or nil.
	Bundle *Bundle
	// Changed is whether it is another than before.
	Changed bool
	// Err is why what the file has now is not in force, nil if it is.
	Err error
	// News is whether Err is another than before; that it is nil may be news.
	News bool
}

// Open follows the file at path from now on, and looks at it. Until it is good,
// the bundle that was in force before stays so, from whatever file it came. An
// empty path is that of no bundle.
func (s *Source) Open(path string) Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.path = path
	if path != "" {
		return s.take(filewatch.Read(path, MaxSize))
	}
	outcome := Outcome{Changed: s.good != nil, News: s.err != nil}
	s.good, s.err = nil, nil
	return outcome
}

// Take is for a content of the file at path. If that is not followed any more,
// the content is of no interest.
func (s *Source) Take(path string, c filewatch.Content) Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	if path != s.path {
		return Outcome{Bundle: s.good, Err: s.err}
	}
	return s.take(c)
}

func (s *Source) take(c filewatch.Content) Outcome {
	bundle, err := (*Bundle)(nil), c.Err
	if err == nil {
		bundle, err = Parse(c.Data)
	}
	if err != nil {
		err = fmt.Errorf("trustBundle.path %s: %w", s.path, err)
		outcome := Outcome{Bundle: s.good, Err: err, News: s.err == nil || s.err.Error() != err.Error()}
		s.err = err
		return outcome
	}
	outcome := Outcome{Bundle: bundle, Changed: bundle.Hash() != s.good.Hash(), News: s.err != nil}
	s.good, s.err = bundle, nil
	return outcome
}

// Current returns the bundle that is in force, or nil, and why that is not what
// the file has now, or nil if it is.
func (s *Source) Current() (*Bundle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.good, s.err
}
