// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// sources are the watches that run now. Which are needed changes with the
// configuration.
type sources struct {
	undecided *undecidedRequests
	requests  requests
	log       *slog.Logger

	mu      sync.Mutex
	running map[scope]runningSource
	ending  sync.WaitGroup
}

type runningSource struct {
	*source
	stop context.CancelFunc
}

// set starts the sources that are needed and not there, and ends those that are
// not needed any more.
func (s *sources) set(ctx context.Context, needed []scope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, scope := range needed {
		if _, ok := s.running[scope]; !ok {
			s.start(ctx, scope)
		}
	}
	for scope, running := range s.running {
		if !slices.Contains(needed, scope) {
			s.log.Info("CertificateRequests are no longer watched", "issuer", scope.String())
			running.stop()
			s.undecided.closeStore(running.store)
			delete(s.running, scope)
		}
	}
}

func (s *sources) start(ctx context.Context, scope scope) {
	ctx, stop := context.WithCancel(ctx)
	started := runningSource{&source{store: s.undecided.openStore(scope), requests: s.requests, log: s.log, heard: time.Now()}, stop}
	s.running[scope] = started
	s.log.Info("CertificateRequests are watched from now on", "issuer", scope.String())
	s.ending.Go(func() { started.run(ctx) })
}

// ready returns nil when what all of them have found is there.
func (s *sources) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) == 0 {
		return errNotSynced
	}
	for _, running := range s.running {
		if err := running.ready(); err != nil {
			return err
		}
	}
	return nil
}

// alive returns nil if the goroutine of each watch is there and at work.
func (s *sources) alive(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for scope, running := range s.running {
		ended, heard := running.life()
		switch silent := now.Sub(heard); {
		case ended:
			return fmt.Errorf("%w: that for %s has ended", errWatchDead, scope)
		case silent > silentAfter:
			return fmt.Errorf("%w: no list or watch for %s has had an outcome for %s", errWatchDead, scope, silent.Round(time.Second))
		}
	}
	return nil
}
