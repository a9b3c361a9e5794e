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
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

func TestHolder(t *testing.T) {
	t.Parallel()
	c := parse(t, minimal)
	holder := config.NewHolder(c)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if holder.Current() != c {
				t.Error("Current is not what NewHolder was given")
			}
		})
	}
	wg.Wait()
}

// told reports whether a change was told, without waiting for one.
func told(changes <-chan struct{}) bool {
	select {
	case <-changes:
		return true
	default:
		return false
	}
}

func TestHolderTellsOfChanges(t *testing.T) {
	t.Parallel()
	one, two := parse(t, minimal), parse(t, minimal+"certificate: {duration: 2h}\n")
	holder := config.NewHolder(one)
	first, cancel := holder.Subscribe()
	second, cancelSecond := holder.Subscribe()
	defer cancelSecond()
	if told(first) {
		t.Error("told before there was a change")
	}
	holder.Set(two)
	if holder.Current() != two || !told(first) || told(first) {
		t.Error("a change is not told once")
	}
	holder.Set(one)
	holder.Set(two)
	if !told(first) || told(first) || !told(second) || told(second) {
		t.Error("changes that nobody has looked at are not told together")
	}
	cancel()
	cancel()
	holder.Set(one)
	if told(first) || !told(second) {
		t.Error("cancel ended another subscription than its own")
	}
}

func TestHolderIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	all := []*config.Config{parse(t, minimal), parse(t, minimal+"certificate: {duration: 2h}\n")}
	holder := config.NewHolder(all[0])
	last, cancel := holder.Subscribe()
	defer cancel()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			changes, cancel := holder.Subscribe()
			defer cancel()
			for range 100 {
				holder.Set(all[i%2])
				told(changes)
				if c := holder.Current(); c != all[0] && c != all[1] {
					t.Error("Current is none that was set")
				}
			}
		})
	}
	wg.Wait()
	if !told(last) {
		t.Error("800 changes went untold")
	}
}

func deaf(r *config.Reloader) {
	r.Deafen(func() error { return errors.New("no space left on device") })
}

func deafAndPolling(r *config.Reloader) {
	deaf(r)
	r.Settle, r.Poll = time.Millisecond, 10*time.Millisecond
}

func deafAndIdle(r *config.Reloader) { deaf(r); r.Settle = never }

// writers are all ways to write a file. Through "current" leads one symlink in
// the folder, through "elsewhere" two, of which the second is not in it.
func writers() []writer {
	return []writer{
		{name: "rewrite", begin: plainly(rewrite)},
		{name: "rename over", begin: plainly(renameOver)},
		{name: "delete and create", begin: plainly(recreate)},
		{name: "ConfigMap", begin: asKubelet},
		{name: "symlink current", begin: func(t *testing.T, dir, content string) (string, func(string) error) {
			check(t, os.Symlink("current/config.yaml", filepath.Join(dir, "config.yaml")))
			return bySymlink(func(dir string) string { return filepath.Join(dir, "current") })(t, dir, content)
		}},
		{name: "symlink elsewhere", begin: func(t *testing.T, dir, content string) (string, func(string) error) {
			far := t.TempDir()
			check(t, os.Symlink(filepath.Join(far, "current", "config.yaml"), filepath.Join(dir, "config.yaml")))
			return bySymlink(func(string) string { return filepath.Join(far, "current") })(t, dir, content)
		}, setUp: func(r *config.Reloader) { r.Settle, r.Poll = time.Millisecond, 10*time.Millisecond }},
		{name: "poll", begin: plainly(renameOver), setUp: deafAndPolling},
		{name: "poll of a ConfigMap", begin: asKubelet, setUp: deafAndPolling},
		{name: "hangup", begin: plainly(rewrite), setUp: deafAndIdle, hup: true},
	}
}

func TestReloaderFollows(t *testing.T) {
	t.Parallel()
	for _, row := range writers() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			path, write := row.begin(t, t.TempDir(), minimal)
			f := follow(t, path, row.setUp)
			changes, cancel := f.holder.Subscribe()
			defer cancel()
			next := func(content string) config.Outcome {
				t.Helper()
				begin := time.Now()
				check(t, write(content))
				if row.hup {
					f.reload()
				}
				outcome := f.next()
				t.Log("from write to effect:", time.Since(begin).Round(100*time.Microsecond))
				return outcome
			}
			first := f.holder.Current()

			loaded := next(lasting("2h"))
			if loaded.Err != nil || len(loaded.Changes) != 1 || loaded.Changes[0].Path != "certificate.duration" || loaded.Time.IsZero() {
				t.Fatalf("a good file: %+v", loaded)
			}
			if loaded.Config == first || loaded.Config.Certificate.Duration != 2*time.Hour || !told(changes) {
				t.Fatal("a good file is not running")
			}
			refused := next(lasting("2h") + "typo: 1\n")
			if faults := (config.Faults{}); !errors.As(refused.Err, &faults) || refused.Config != loaded.Config || refused.Changes != nil || told(changes) {
				t.Fatalf("a bad file: %+v", refused)
			}
			restored := next(lasting("2h"))
			if restored.Err != nil || restored.Config != loaded.Config || restored.Changes != nil || told(changes) {
				t.Fatalf("the file that is running: %+v", restored)
			}
			if last := next(minimal); last.Err != nil || last.Config.Hash() != first.Hash() || !told(changes) {
				t.Fatalf("the first file again: %+v", last)
			}
		})
	}
}

func TestReloaderRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		do   func(path string) error
		want []string
	}{
		{"two faults", func(path string) error { return renameOver(path, minimal+"typo: 1\nother: 2\n") }, []string{
			"config.yaml:6:1: typo: is not a field", "config.yaml:7:1: other: is not a field",
		}},
		{"no YAML", func(path string) error { return renameOver(path, "{") }, []string{"config.yaml:1:"}},
		{"an empty file", func(path string) error { return renameOver(path, "") }, []string{"config.yaml:1:1: "}},
		{"half of a file", func(path string) error { return renameOver(path, minimal[:60]) }, []string{"config.yaml:"}},
		{"a file that is too large", func(path string) error { return renameOver(path, minimal+strings.Repeat("#", 1<<20)) }, []string{"config.yaml:"}},
		{"no file", os.Remove, []string{"cannot open the configuration file: ", "config.yaml: no such file or directory"}},
		{"a folder", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, []string{"it is not a regular file"}},
		{"a pipe", func(path string) error { return errors.Join(os.Remove(path), mkfifo(path)) }, []string{"it is not a regular file"}},
		{"a symlink to nothing", func(path string) error { return errors.Join(os.Remove(path), os.Symlink("nothing", path)) }, []string{"no such file"}},
		{"a symlink to itself", func(path string) error { return errors.Join(os.Remove(path), os.Symlink(path, path)) }, []string{"too many levels of symbolic links"}},
		{"a restart-only field", func(path string) error { return renameOver(path, minimal+"volume: {tmpfsPath: /run/other}\n") }, []string{
			"config.yaml: volume.tmpfsPath: cannot change while the program runs (from /var/run/csi-driver-spiffe to /run/other), a restart takes it up",
		}},
		{"restart-only fields beside others", func(path string) error {
			return renameOver(path, lasting("2h")+"driver: {httpAddress: ':1'}\napprover: {httpAddress: ':2', workers: 3}\n")
		}, []string{"driver.httpAddress: ", "approver.httpAddress: ", "approver.workers: cannot change while the program runs (from 8 to 3)"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "config.yaml")
			check(t, rewrite(path, minimal))
			f := follow(t, path, nil)
			f.reload() // Run has begun.
			changes, cancel := f.holder.Subscribe()
			defer cancel()
			before, yaml := f.holder.Current(), yamlOf(t, f.holder.Current())
			check(t, row.do(path))
			outcome := f.next()
			if outcome.Err == nil || outcome.Config != before || outcome.Changes != nil {
				t.Fatalf("got %+v", outcome)
			}
			for _, want := range row.want {
				if !strings.Contains(outcome.Err.Error(), want) {
					t.Errorf("%v\nshould tell %q", outcome.Err, want)
				}
			}
			if f.holder.Current() != before || yamlOf(t, before) != yaml || told(changes) {
				t.Error("something changed")
			}
			// It heals, and says so.
			check(t, os.RemoveAll(path))
			f.reload()
			check(t, rewrite(path, minimal))
			for outcome = f.next(); outcome.Err != nil; outcome = f.next() {
			}
			if outcome.Config != before || outcome.Changes != nil || told(changes) {
				t.Errorf("healed to %+v", outcome)
			}
		})
	}
}

func TestRestartErrorNamesOnlyWhatNeedsOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	check(t, rewrite(path, minimal))
	f := follow(t, path, nil)
	check(t, renameOver(path, lasting("2h")+"volume: {tmpfsPath: /run/other}\n"))
	var restart *config.RestartError
	if err := f.next().Err; !errors.As(err, &restart) || restart.File != path || len(restart.Changes) != 1 {
		t.Errorf("got %v", err)
	}
}

func yamlOf(t *testing.T, c *config.Config) string {
	t.Helper()
	data, err := c.YAML()
	check(t, err)
	return string(data)
}

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
