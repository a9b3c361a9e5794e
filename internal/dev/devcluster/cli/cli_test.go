// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/cli"
)

func run(args ...string) (stdout string, err error) {
	var out strings.Builder
	root := cli.New(args, nil)
	root.SetOut(&out)
	root.SetErr(io.Discard)
	err = root.Execute()
	return out.String(), err
}

func TestBadCommandLines(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"unknown command", []string{"down"}, "unknown command"},
		{"unknown flag", []string{"up", "--port=1"}, "unknown flag: --port"},
		{"up with argument", []string{"up", "now"}, "unknown command"},
		{"exec without command", []string{"exec"}, "requires at least 1 arg"},
		{"exec without command after dashes", []string{"exec", "--"}, "requires at least 1 arg"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := run(test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestExecFindsTheCommandBeforeItStartsACluster(t *testing.T) {
	t.Parallel()
	if _, err := run("exec", "no-such-program-anywhere"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("error is %v, want %v", err, exec.ErrNotFound)
	}
}

func TestDirHasToExist(t *testing.T) {
	t.Parallel()
	if _, err := run("up", "--dir", t.TempDir()+"/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want %v", err, fs.ErrNotExist)
	}
}

func TestHelpNamesTheCommands(t *testing.T) {
	t.Parallel()
	out, err := run("--help")
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"up", "exec", "version"} {
		if !strings.Contains(out, "\n  "+command+" ") {
			t.Errorf("no %q in help:\n%s", command, out)
		}
	}
}
