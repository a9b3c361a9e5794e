// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// A Process is a part that was started.
type Process struct {
	part   Part
	cmd    *exec.Cmd
	ready  *os.File
	exited chan struct{}
	err    error // of cmd.Wait, once exited is closed
}

// WaitReady waits until the child calls [Ready]. If the child ends first, the
// error is a [*Failure].
func (p *Process) WaitReady(ctx context.Context) error {
	called := make(chan bool, 1)
	go func() {
		n, _ := io.ReadFull(p.ready, make([]byte, 1))
		called <- n == 1
	}()
	select {
	case ok := <-called:
		if ok {
			return nil
		}
		// The pipe closed with nothing in it: the child is ending.
		<-p.exited
		return p.failure()
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s: %w", p.part.Name, context.Cause(ctx))
	}
}

// kill kills the whole process group, so also what the child has started, or
// sends the signal that the part asks for. The child leads the group: until it is
// reaped, no other group can have its number.
func (p *Process) kill() {
	select {
	case <-p.exited:
	default:
		if p.part.StopSignal != 0 {
			_ = p.cmd.Process.Signal(p.part.StopSignal)
			return
		}
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}

func (p *Process) failure() *Failure {
	return &Failure{
		Part:    p.part.Name,
		State:   p.cmd.ProcessState.String(),
		LogFile: p.part.LogFile,
		LogTail: tail(p.part.LogFile),
	}
}

// A Failure is a part that ended though nobody stopped it.
type Failure struct {
	// Part is the name of the part.
	Part string
	// State says how it ended: its exit status or the signal.
	State string
	// LogFile is its log, and LogTail the last lines of it.
	LogFile, LogTail string
}

// Error names the part, how it ended and the last lines of its log.
func (f *Failure) Error() string {
	message := fmt.Sprintf("%s ended unexpectedly (%s)", f.Part, f.State)
	if f.LogTail == "" {
		return message + "; its log is empty"
	}
	return message + "; the end of its log:\n" + f.LogTail
}

// How much of a log file tail returns at most.
const (
	tailLines = 15
	tailBytes = 8 << 10
)

// tail returns the last lines of a file, indented. What cannot be read is left
// out: it only explains another error.
func tail(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-tailBytes), io.SeekStart)
	}
	data, _ := io.ReadAll(io.LimitReader(f, tailBytes))
	data = bytes.TrimRight(data, "\n")
	if len(data) == 0 {
		return ""
	}
	lines := bytes.Split(data, []byte("\n"))
	lines = lines[max(0, len(lines)-tailLines):]
	return "\t" + string(bytes.Join(lines, []byte("\n\t")))
}
