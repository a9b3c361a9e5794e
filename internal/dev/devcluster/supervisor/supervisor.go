// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// A Part is a child process to be started.
type Part struct {
	// Name is what messages call it.
	Name string
	// Command is the program and its arguments.
	Command []string
	// Dir is its working directory.
	Dir string
	// LogFile receives standard output and standard error.
	LogFile string
	// Socket, if not nil, is the listening socket that it gets from [Listener].
	// The caller closes it after Start.
	Socket *os.File
	// StopSignal, if not 0, is what it gets to stop, alone, and then it has to end
	// by itself and take what it has started with it. Otherwise its whole process
	// group is killed.
	StopSignal syscall.Signal
}

// A Supervisor starts and stops parts. The zero value is not usable.
type Supervisor struct {
	launch chan func()
	failed chan error

	mu        sync.Mutex
	stopped   bool
	processes []*Process
}

// New makes a supervisor. It has to be stopped with [Supervisor.Stop].
func New() *Supervisor {
	s := &Supervisor{launch: make(chan func()), failed: make(chan error, 1)}
	go s.launchLoop()
	return s
}

// launchLoop starts the children, all from one OS thread which lives as long as
// they do: Linux takes the end of the starting *thread* for the parent's death.
func (s *Supervisor) launchLoop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for start := range s.launch {
		start()
	}
}

// ErrStopped is returned by [Supervisor.Start] after [Supervisor.Stop].
var ErrStopped = errors.New("supervisor is stopped")

// Start starts a part. It does not wait until the part is ready.
func (s *Supervisor) Start(part Part) (*Process, error) {
	p, err := s.start(part)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", part.Name, err)
	}
	return p, nil
}

func (s *Supervisor) start(part Part) (*Process, error) {
	log, err := os.OpenFile(part.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	ready, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()

	cmd := exec.Command(part.Command[0], part.Command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = part.Dir, log, log
	cmd.ExtraFiles = []*os.File{theirs}
	if part.Socket != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, part.Socket)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &Process{part: part, cmd: cmd, ready: ready, exited: make(chan struct{})}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		ready.Close()
		return nil, ErrStopped
	}
	if err := s.startTied(cmd, syscall.SIGKILL); err != nil {
		ready.Close()
		return nil, err
	}
	s.processes = append(s.processes, p)
	go s.wait(p)
	return p, nil
}

// StartCommand starts any command so that it gets the signal onParentDeath when
// this process dies first, where the operating system can do that. The caller
// waits for it. Stop does not concern itself with it.
func (s *Supervisor) StartCommand(cmd *exec.Cmd, onParentDeath syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return ErrStopped
	}
	return s.startTied(cmd, onParentDeath)
}

// startTied is called with the lock held.
func (s *Supervisor) startTied(cmd *exec.Cmd, onParentDeath syscall.Signal) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	setDeathSignal(cmd.SysProcAttr, onParentDeath)
	started := make(chan error)
	s.launch <- func() { started <- cmd.Start() }
	return <-started
}

// wait reaps p and reports it as failed, unless it was stopped.
func (s *Supervisor) wait(p *Process) {
	p.err = p.cmd.Wait()
	close(p.exited)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	select {
	case s.failed <- p.failure():
	default: // The first failure is the cause; others follow from it.
	}
}

// Failed delivers the [*Failure] of the first part that ended by itself.
func (s *Supervisor) Failed() <-chan error { return s.failed }

// Stop kills all parts with everything they started in their process groups, the
// last one first, and returns when they are gone. It may be called repeatedly.
func (s *Supervisor) Stop() {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return
	}
	s.stopped = true
	s.mu.Unlock()
	for i := len(s.processes) - 1; i >= 0; i-- {
		s.processes[i].kill()
	}
	for _, p := range s.processes {
		<-p.exited
		p.ready.Close()
	}
	close(s.launch)
}
