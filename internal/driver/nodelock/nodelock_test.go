// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelock_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/nodelock"
)

const driver = "spiffe.csi.cert-manager.io"

var (
	first       = nodelock.Owner{Namespace: "cert-manager", Driver: driver, Pod: "csi-driver-spiffe-x7k2p"}
	next        = nodelock.Owner{Namespace: "cert-manager", Driver: driver, Pod: "csi-driver-spiffe-8d4mz"}
	second      = nodelock.Owner{Namespace: "spiffe-b", Driver: driver, Pod: "csi-driver-spiffe-qq9rt"}
	otherDriver = nodelock.Owner{Namespace: "cert-manager", Driver: "b.spiffe.example.org", Pod: "csi-driver-spiffe-b-5ncxj"}
)

// acquire takes a lock that must be free.
func acquire(t *testing.T, path string, owner nodelock.Owner) *nodelock.Lock {
	t.Helper()
	lock, err := nodelock.Acquire(path, owner)
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

func release(t *testing.T, lock *nodelock.Lock) {
	t.Helper()
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
}

// requireHeld asserts that Acquire fails, and that the error names the present owner.
func requireHeld(t *testing.T, path string, owner, by nodelock.Owner) {
	t.Helper()
	if _, err := nodelock.Acquire(path, owner); !errors.Is(err, nodelock.ErrHeld) || !strings.Contains(err.Error(), "pod "+by.Namespace+"/"+by.Pod+" of driver "+by.Driver) {
		t.Errorf("got %v, want that pod %s/%s holds it", err, by.Namespace, by.Pod)
	}
}

func TestAnotherInstallationIsRefusedUntilTheLastProcessOfTheFirstHasEnded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), ".lock")
	of := acquire(t, path, first)
	requireHeld(t, path, second, first)
	requireHeld(t, path, otherDriver, first)
	update := acquire(t, path, next)
	release(t, of)
	requireHeld(t, path, second, first)
	release(t, update)
	other := acquire(t, path, second)
	requireHeld(t, path, next, second)
	release(t, other)
}

// Of many that come at once, one installation has it, and all of its processes do.
func TestOneInstallationWinsARace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), ".lock")
	var winners [2]atomic.Int32
	var group sync.WaitGroup
	locks := make([]*nodelock.Lock, 20)
	for n := range locks {
		group.Go(func() {
			owner := []nodelock.Owner{first, second}[n%2]
			lock, err := nodelock.Acquire(path, owner)
			switch locks[n] = lock; {
			case err == nil:
				winners[n%2].Add(1)
			case !errors.Is(err, nodelock.ErrHeld):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if a, b := winners[0].Load(), winners[1].Load(); (a == 0) == (b == 0) || a+b != 10 {
		t.Errorf("%d processes of one installation and %d of the other have it, want 10 of one of them", a, b)
	}
	for _, lock := range locks {
		if lock != nil {
			release(t, lock)
		}
	}
}

func TestAFolderThatIsNotThere(t *testing.T) {
	t.Parallel()
	if _, err := nodelock.Acquire(filepath.Join(t.TempDir(), "none", ".lock"), first); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// Whoever can write into the folder of a lock can have the driver neither overwrite another
// file nor wait.
func TestWhatIsNoFileIsNotALock(t *testing.T) {
	t.Parallel()
	const content = "what must stay"
	for name, make := range map[string]func(path, victim string) error{
		"a symbolic link":            func(path, victim string) error { return os.Symlink(victim, path) },
		"a symbolic link to nothing": func(path, victim string) error { return os.Symlink(victim+".new", path) },
		"a named pipe":               func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
		"a folder":                   func(path, _ string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, victim := filepath.Join(t.TempDir(), ".lock"), filepath.Join(t.TempDir(), "victim")
			if err := errors.Join(os.WriteFile(victim, []byte(content), 0o600), make(path, victim)); err != nil {
				t.Fatal(err)
			}
			if _, err := nodelock.Acquire(path, first); err == nil || errors.Is(err, nodelock.ErrHeld) {
				t.Errorf("got %v, want that it cannot be opened", err)
			}
			if got, err := os.ReadFile(victim); err != nil || string(got) != content {
				t.Errorf("the other file has %q, %v", got, err)
			}
			if _, err := os.Stat(victim + ".new"); err == nil {
				t.Error("another file was made")
			}
		})
	}
}

// What is in the file of a lock may be of anybody, and is not printed as it is.
func TestHostileOwner(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), ".lock")
	hostile := acquire(t, path, nodelock.Owner{Namespace: "a\nlevel=ERROR \x1b[31m", Driver: driver, Pod: strings.Repeat("x\x00", 400)})
	defer release(t, hostile)
	_, err := nodelock.Acquire(path, first)
	if !errors.Is(err, nodelock.ErrHeld) || strings.ContainsAny(err.Error(), "\n\x1b\x00") || len(err.Error()) > 1500 {
		t.Errorf("got %q", err)
	}
}
