// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/cert-manager/csi-lib/third_party/util"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// never is longer than any test.
const never = time.Hour

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func lasting(duration string) string { return minimal + "certificate: {duration: " + duration + "}\n" }

// follower is a Reloader at work.
type follower struct {
	t        *testing.T
	path     string
	holder   *config.Holder
	outcomes chan config.Outcome
	hangup   chan os.Signal
	stop     func()
}

// follow follows the file at path until the test ends. Set up, which may be
// nil, can change the Reloader.
func follow(t *testing.T, path string, setUp func(*config.Reloader)) *follower {
	t.Helper()
	c, err := config.Load(path)
	check(t, err)
	f := &follower{
		t: t, path: path, holder: config.NewHolder(c),
		outcomes: make(chan config.Outcome, 100), hangup: make(chan os.Signal),
	}
	r := config.NewReloader(path, f.holder, func(o config.Outcome) {
		// Here and not in next: by then it may have been replaced again.
		if o.Config != f.holder.Current() {
			t.Errorf("the outcome names %s, %s is running", o.Config.Hash(), f.holder.Current().Hash())
		}
		f.outcomes <- o
	})
	r.Settle, r.Poll = 20*time.Millisecond, never
	if setUp != nil {
		setUp(r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { defer close(ended); ended <- r.Run(ctx, f.hangup) }()
	f.stop = func() {
		cancel()
		if err, running := <-ended; running && err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(f.stop)
	return f
}

// next waits for the next outcome.
func (f *follower) next() config.Outcome {
	f.t.Helper()
	select {
	case o := <-f.outcomes:
		return o
	case <-time.After(patience):
		f.t.Fatal("nothing was reported")
		return config.Outcome{}
	}
}

// reload sends a hangup, which is received when Run has begun.
func (f *follower) reload() {
	f.t.Helper()
	select {
	case f.hangup <- syscall.SIGHUP:
	case <-time.After(patience):
		f.t.Fatal("no hangup is received")
	}
}

// A writer writes a file in some way.
type writer struct {
	name string
	// begin makes the file in a folder, and returns its path and how to write
	// it again.
	begin func(t *testing.T, dir, content string) (path string, write func(content string) error)
	// setUp makes the Reloader blind to what is not to be tested.
	setUp func(*config.Reloader)
	hup   bool
}

// plainly is a file that is written again by write.
func plainly(write func(path, content string) error) func(*testing.T, string, string) (string, func(string) error) {
	return func(t *testing.T, dir, content string) (string, func(string) error) {
		path := filepath.Join(dir, "config.yaml")
		check(t, rewrite(path, content))
		return path, func(content string) error { return write(path, content) }
	}
}

func rewrite(path, content string) error { return os.WriteFile(path, []byte(content), 0o600) }

func renameOver(path, content string) error {
	if err := rewrite(path+".new", content); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func recreate(path, content string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return rewrite(path, content)
}

// asKubelet is how the kubelet writes a ConfigMap.
func asKubelet(t *testing.T, dir, content string) (string, func(string) error) {
	kubelet, err := util.NewAtomicWriter(dir, "test")
	check(t, err)
	write := func(content string) error {
		return kubelet.Write(map[string]util.FileProjection{"config.yaml": {Data: []byte(content), Mode: 0o644}}, nil)
	}
	check(t, write(content))
	return filepath.Join(dir, "config.yaml"), write
}

// bySymlink has the file lead to a version elsewhere.
func bySymlink(link func(dir string) string) func(*testing.T, string, string) (string, func(string) error) {
	return func(t *testing.T, dir, content string) (string, func(string) error) {
		elsewhere, version := t.TempDir(), 0
		write := func(content string) error {
			version++
			made := filepath.Join(elsewhere, strconv.Itoa(version))
			if err := os.Mkdir(made, 0o700); err != nil {
				return err
			}
			if err := rewrite(filepath.Join(made, "config.yaml"), content); err != nil {
				return err
			}
			if err := os.Symlink(made, filepath.Join(dir, "tmp")); err != nil {
				return err
			}
			return os.Rename(filepath.Join(dir, "tmp"), link(dir))
		}
		check(t, write(content))
		return filepath.Join(dir, "config.yaml"), write
	}
}
