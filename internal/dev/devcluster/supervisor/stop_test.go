// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package supervisor_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/supervisor"
)

// A part with a signal of its own has time to take down what is not in its process
// group.
func TestStopSignalLetsAPartEndByItself(t *testing.T) {
	t.Parallel()
	s := supervisor.New()
	part := shell(t, "trap 'echo bye > farewell; exit 0' TERM; echo >&3; while :; do sleep 0.05; done")
	part.StopSignal = syscall.SIGTERM
	process := start(t, s, part)
	if err := process.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if farewell, err := os.ReadFile(filepath.Join(part.Dir, "farewell")); err != nil || string(farewell) != "bye\n" {
		t.Errorf("it said %q, %v", farewell, err)
	}
}

func TestStopKillsWholeGroups(t *testing.T) {
	t.Parallel()
	s := supervisor.New()
	part := shell(t, "trap '' TERM; sleep 1000 & echo $! > child; echo >&3; wait")
	process := start(t, s, part)
	if err := process.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(part.Dir, "child"))
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Stop() // harmless
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	waitGone(t, pid)
	select {
	case err := <-s.Failed():
		t.Errorf("a part that was stopped counts as failed: %v", err)
	default:
	}
	if _, err := s.Start(part); !errors.Is(err, supervisor.ErrStopped) {
		t.Errorf("Start after Stop: %v, want %v", err, supervisor.ErrStopped)
	}
	if err := s.StartCommand(exec.Command("true"), syscall.SIGTERM); !errors.Is(err, supervisor.ErrStopped) {
		t.Errorf("StartCommand after Stop: %v, want %v", err, supervisor.ErrStopped)
	}
}

// waitGone waits until a process, which is no child of this one, runs no longer.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d is still there: %s", pid, stat)
		}
	}
}
