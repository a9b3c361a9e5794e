// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package statedir_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"
)

// TestMain lets the test binary be a process that makes a folder and is killed.
func TestMain(m *testing.M) {
	parent := os.Getenv("TEST_CREATE_BELOW")
	if parent == "" {
		os.Exit(m.Run())
	}
	d, err := statedir.Create(parent)
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Stdout.WriteString(d.Path("."))
	os.Stdout.Close()
	select {}
}

func create(t *testing.T) *statedir.Dir {
	t.Helper()
	d, err := statedir.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCreateAndRemove(t *testing.T) {
	t.Parallel()
	d := create(t)
	if info, err := os.Stat(d.Path(".")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(d.Log("part"), nil, 0o600); err != nil {
		t.Error(err)
	}
	if err := d.Remove(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(d.Path("."))); err != nil || len(entries) != 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

func TestFoldersDiffer(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	first, err := statedir.Create(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Remove()
	second, err := statedir.Create(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Remove()
	if first.Path(".") == second.Path(".") {
		t.Error("two state folders are one")
	}
}

func TestKeptLogsOutliveTheFolder(t *testing.T) {
	t.Parallel()
	d := create(t)
	if err := os.WriteFile(d.Log("part"), []byte("why"), 0o600); err != nil {
		t.Fatal(err)
	}
	kept, err := d.KeepLogs()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(kept, "part.log")); err != nil || string(got) != "why" {
		t.Errorf("kept %q, %v", got, err)
	}
}

func TestCreateReportsMissingParent(t *testing.T) {
	t.Parallel()
	if _, err := statedir.Create(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want %v", err, fs.ErrNotExist)
	}
}

func TestFolderGoesWhenItsMakerIsKilled(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TEST_CREATE_BELOW="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var path strings.Builder
	if _, err := io.Copy(&path, out); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path.String()); errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q is still there", path.String())
		}
	}
}
