// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package daemontest runs scripts against a program as a user has it: each
// testdata/*.txtar is a session on the command line, in the language of
// github.com/rogpeppe/go-internal/testscript with one more command,
//
//	exits CODE PROGRAM ARG...
//
// which runs a program that must end with this exit code. No cluster is there.
package daemontest

import (
	"errors"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// Main is for TestMain. The scripts can run the program under its name.
func Main(m *testing.M, name string, program func()) {
	testscript.Main(m, map[string]func(){name: program})
}

// RunScripts runs the scripts in the folder testdata.
func RunScripts(t *testing.T) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:  "testdata",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
