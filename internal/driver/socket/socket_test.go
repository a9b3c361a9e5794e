// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package socket_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/socket"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// path is short, as that of a UNIX socket must be.
func path(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, "x.sock")
}

func TestListenTakesThePlaceOfAKilledProcess(t *testing.T) {
	t.Parallel()
	at := path(t)
	killed, err := new(net.ListenConfig).Listen(t.Context(), "unix", at)
	check(t, err)
	killed.(*net.UnixListener).SetUnlinkOnClose(false)
	check(t, killed.Close())

	listener, err := socket.Listen(t.Context(), at)
	check(t, err)
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", at)
	check(t, err)
	check(t, conn.Close())
	check(t, listener.Close())
	if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v, want the socket gone", err)
	}
}

func TestListenRefuses(t *testing.T) {
	t.Parallel()
	file := path(t)
	check(t, os.WriteFile(file, []byte("precious"), 0o600))
	for name, row := range map[string]struct {
		path string
		want error
	}{
		"a file is there":    {file, socket.ErrInTheWay},
		"no such folder":     {filepath.Join(path(t), "no", "x.sock"), fs.ErrNotExist},
		"a folder is a file": {filepath.Join(file, "x.sock"), unix.ENOTDIR},
		"path too long":      {"/tmp/" + strings.Repeat("x", 108), socket.ErrTooLong},
	} {
		if _, err := socket.Listen(t.Context(), row.path); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", name, err, row.want)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file is %q, %v", data, err)
	}
}

// There is no moment in which others than root could connect, whatever the
// umask: somebody who looks all the time sees no other mode.
func TestOnlyRootCanUseItFromTheFirstMoment(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	at := path(t)
	var stop atomic.Bool
	seen := make(chan map[fs.FileMode]int, 1)
	go func() {
		modes := map[fs.FileMode]int{}
		for !stop.Load() {
			if info, err := os.Lstat(at); err == nil {
				modes[info.Mode()]++
			}
		}
		seen <- modes
	}()
	for range 2000 {
		listener, err := socket.Listen(t.Context(), at)
		check(t, err)
		check(t, listener.Close())
	}
	stop.Store(true)
	modes := <-seen
	delete(modes, fs.ModeSocket|0o600)
	if len(modes) > 0 {
		t.Errorf("the socket had these modes: %v", modes)
	}
}

func TestCloseLeavesTheSocketOfASuccessor(t *testing.T) {
	t.Parallel()
	at := path(t)
	first, err := socket.Listen(t.Context(), at)
	check(t, err)
	second, err := socket.Listen(t.Context(), at)
	check(t, err)
	if inPlace, other := first.InPlace(); inPlace || !other {
		t.Errorf("the first is in place: %v, another is: %v", inPlace, other)
	}
	check(t, first.Close())
	if inPlace, other := second.InPlace(); !inPlace || other {
		t.Errorf("the second is in place: %v, another is: %v", inPlace, other)
	}
	check(t, os.Remove(at))
	if inPlace, other := second.InPlace(); inPlace || other {
		t.Errorf("after it was removed it is in place: %v, another is: %v", inPlace, other)
	}
	check(t, second.Close())
}
