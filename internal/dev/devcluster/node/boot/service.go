// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"
)

// shortest is how long a service has to have run to be started again at once.
const shortest = time.Second

// A service is a process that is started again when it ends.
type service struct {
	name    string
	command []string

	mu      sync.Mutex
	pid     int
	started time.Time
}

// start starts it, in the state folder; what it writes goes to its log. Not with
// package os/exec, which would wait for it, as reap does.
func (s *service) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wait := time.Until(s.started.Add(shortest)); wait > 0 {
		time.Sleep(wait)
	}
	log, err := os.OpenFile(filepath.Join(statedir.Logs, s.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.started = time.Now()
	s.pid, err = syscall.ForkExec(s.command[0], s.command, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w", s.name, err)
	}
	return nil
}

// ended tells whether a process that has ended was this service.
func (s *service) ended(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid == pid
}

func (s *service) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	// It fails if it has just ended.
	_ = syscall.Kill(s.pid, syscall.SIGKILL)
}
