// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

// What is the same to the byte is not reported: the next outcome is that of the
// next change.
func TestReloaderReportsEachContentOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	check(t, rewrite(path, minimal))
	f := follow(t, path, nil)
	again := func(content string) {
		t.Helper()
		for range 3 {
			check(t, renameOver(path, content))
			f.reload()
		}
	}
	again(minimal) // as it was at the start
	bad := minimal + "typo: 1\n"
	again(bad)
	if outcome := f.next(); outcome.Err == nil || !strings.Contains(outcome.Err.Error(), "typo") {
		t.Fatalf("got %+v", outcome)
	}
	again(minimal + "typ: 1\n")
	if outcome := f.next(); outcome.Err == nil || strings.Contains(outcome.Err.Error(), "typo") {
		t.Fatalf("got %+v", outcome)
	}
	again("# A comment.\n" + minimal)
	first := f.holder.Current()
	if outcome := f.next(); outcome.Err != nil || outcome.Changes != nil || outcome.Config != first {
		t.Fatalf("a comment: %+v", outcome)
	}
	again(lasting("3h"))
	if outcome := f.next(); outcome.Err != nil || outcome.Config.Certificate.Duration != 3*time.Hour {
		t.Fatalf("got %+v", outcome)
	}
	f.stop()
	if len(f.outcomes) != 0 {
		t.Errorf("also reported: %+v", <-f.outcomes)
	}
}

// Between loading the file and watching it, it may have changed already.
func TestReloaderSeesWhatChangedBeforeIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	check(t, rewrite(path, minimal))
	f := follow(t, path, func(r *config.Reloader) {
		deaf(r)
		check(t, rewrite(path, lasting("2h")))
	})
	if outcome := f.next(); outcome.Err != nil || outcome.Config.Certificate.Duration != 2*time.Hour {
		t.Errorf("got %+v", outcome)
	}
}

// The folder, too, may be replaced.
func TestReloaderFollowsItsFolder(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"moved":   func(dir string) error { return os.Rename(dir, dir+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "folder")
			path := filepath.Join(dir, "config.yaml")
			check(t, os.Mkdir(dir, 0o700))
			check(t, rewrite(path, minimal))
			f := follow(t, path, func(r *config.Reloader) { r.Settle, r.Poll = time.Millisecond, 20*time.Millisecond })
			check(t, remove(dir))
			if f.next().Err == nil {
				t.Fatal("a file that is not there is good")
			}
			check(t, os.Mkdir(dir, 0o700))
			check(t, rewrite(path, lasting("2h")))
			for f.next().Err != nil {
			}
			check(t, rewrite(path, lasting("3h")))
			for f.holder.Current().Certificate.Duration != 3*time.Hour {
				f.next()
			}
		})
	}
}

// Without watches it goes on by polling, and says so once; when there are some
// again, it takes them.
func TestReloaderWithoutWatches(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	check(t, rewrite(path, minimal))
	var log bytes.Buffer
	var attempts atomic.Int32
	heard := make(chan struct{})
	f := follow(t, path, func(r *config.Reloader) {
		r.Settle, r.Poll = time.Millisecond, 10*time.Millisecond
		r.Log = slog.New(slog.NewTextHandler(&log, nil))
		r.Deafen(func() error {
			if attempts.Add(1) < 5 {
				return syscall.ENOSPC
			}
			if attempts.Load() == 5 {
				close(heard)
			}
			return nil
		})
	})
	check(t, renameOver(path, lasting("2h")))
	f.next()
	<-heard
	check(t, renameOver(path, lasting("3h")))
	f.next()
	f.stop()
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "cannot be watched") || !strings.Contains(log.String(), "no space left on device") {
		t.Errorf("logged %s", log.String())
	}
}

func TestReloaderLeavesStreamsAlone(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	check(t, mkfifo(pipe))
	for _, path := range []string{"-", pipe} {
		holder := config.NewHolder(parse(t, minimal))
		r := config.NewReloader(path, holder, func(o config.Outcome) { t.Errorf("%s: reported %+v", path, o) })
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx, nil) }()
		cancel(errors.New("enough"))
		check(t, <-ended)
	}
}
