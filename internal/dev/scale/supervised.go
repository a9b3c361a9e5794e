// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// supervised is a program that is started again when it ends, as Kubernetes does
// with a container. The approver ends when it cannot renew its Lease.
type supervised struct {
	start    func() (*testkit.Program, error)
	ending   chan struct{}
	watching sync.WaitGroup

	mu       sync.Mutex
	program  *testkit.Program
	restarts int
}

// startSupervised starts a program.
func startSupervised(start func() (*testkit.Program, error)) (*supervised, error) {
	program, err := start()
	if err != nil {
		return nil, err
	}
	s := &supervised{start: start, ending: make(chan struct{}), program: program}
	s.watching.Go(s.watch)
	return s, nil
}

func (s *supervised) watch() {
	for {
		select {
		case <-s.ending:
			return
		default:
		}
		if !s.program.WaitForEnd(time.Second) {
			continue
		}
		progress("%s has ended, and is started again", s.program.Name)
		if program, err := s.start(); err == nil {
			s.mu.Lock()
			s.program = program
			s.restarts++
			s.mu.Unlock()
		}
	}
}

// pid is that of the present process.
func (s *supervised) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.program.PID()
}

// restarted is how often the program ended.
func (s *supervised) restarted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

func (s *supervised) stop() error {
	close(s.ending)
	s.watching.Wait()
	return s.program.Stop()
}
