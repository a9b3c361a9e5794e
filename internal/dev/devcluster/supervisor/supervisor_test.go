// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/supervisor"
)

// TestMain lets the test binary be the child processes, too.
func TestMain(m *testing.M) {
	switch role := os.Getenv("TEST_CHILD"); role {
	case "":
		os.Exit(m.Run())
	case "listener":
		fmt.Fprintln(os.Stderr, serveOnce())
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "no such child:", role)
		os.Exit(2)
	}
}

func newSupervisor(t *testing.T) *supervisor.Supervisor {
	t.Helper()
	s := supervisor.New()
	t.Cleanup(s.Stop)
	return s
}

// shell is a part that runs a shell script. In the script, echo >&3 means ready.
func shell(t *testing.T, script string) supervisor.Part {
	t.Helper()
	dir := t.TempDir()
	return supervisor.Part{
		Name:    "shell",
		Command: []string{"/bin/sh", "-c", script},
		Dir:     dir,
		LogFile: filepath.Join(dir, "log"),
	}
}

func start(t *testing.T, s *supervisor.Supervisor, p supervisor.Part) *supervisor.Process {
	t.Helper()
	process, err := s.Start(p)
	if err != nil {
		t.Fatal(err)
	}
	return process
}

// forever is a command for shell scripts.
const forever = "exec sleep 1000"

func TestWaitReady(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, script string
		want         string // in the error; empty: success
	}{
		{"ready", "echo >&3; " + forever, ""},
		{"fails before", "echo something bad; exit 3", "shell ended unexpectedly (exit status 3); the end of its log:\n\tsomething bad"},
		{"ends before", "exit 0", "shell ended unexpectedly (exit status 0); its log is empty"},
		{"killed before", "kill -9 $$", "shell ended unexpectedly (signal: killed); its log is empty"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := start(t, newSupervisor(t), shell(t, test.script)).WaitReady(t.Context())
			if test.want == "" && err != nil || test.want != "" && (err == nil || err.Error() != test.want) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
		})
	}
}

func TestWaitReadyEndsWithContext(t *testing.T) {
	t.Parallel()
	process := start(t, newSupervisor(t), shell(t, forever))
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := process.WaitReady(ctx); !errors.Is(err, cause) {
		t.Errorf("error is %v, want %v", err, cause)
	}
}

func TestFailedTellsTheFirstFailure(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	start(t, s, shell(t, forever))
	start(t, s, shell(t, "seq 1 100; exit 4"))
	err := <-s.Failed()
	failure, ok := errors.AsType[*supervisor.Failure](err)
	if !ok {
		t.Fatalf("error is %T: %v", err, err)
	}
	if failure.Part != "shell" || failure.State != "exit status 4" {
		t.Errorf("failure is %+v", failure)
	}
	if !strings.HasPrefix(failure.LogTail, "\t86\n") || !strings.HasSuffix(failure.LogTail, "\n\t100") {
		t.Errorf("not the last 15 lines: %q", failure.LogTail)
	}
}

func TestStartReportsWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	noProgram := shell(t, "")
	noProgram.Command = []string{"/does/not/exist"}
	noFolder := shell(t, "")
	noFolder.LogFile = "/does/not/exist/log"
	for name, part := range map[string]supervisor.Part{"program": noProgram, "log folder": noFolder} {
		if _, err := s.Start(part); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}
