// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package filewatch_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cert-manager/csi-lib/third_party/util"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/filewatch"
)

// What else a Watcher does is tested through its user that is pickiest, the
// Reloader of package config.

const patience = 10 * time.Second

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// follow returns the contents that are reported for a file, until the test ends.
func follow(t *testing.T, path string, settle time.Duration) <-chan filewatch.Content {
	t.Helper()
	contents := make(chan filewatch.Content, 1000)
	w := filewatch.New(path, func(c filewatch.Content) { contents <- c })
	w.Settle, w.Poll, w.Most = settle, time.Hour, 100
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx, nil) }()
	t.Cleanup(func() { stop(); <-done })
	return contents
}

func next(t *testing.T, contents <-chan filewatch.Content) filewatch.Content {
	t.Helper()
	select {
	case c := <-contents:
		return c
	case <-time.After(patience):
		t.Fatal("nothing is reported")
		return filewatch.Content{}
	}
}

// A hundred changes in a row are few reports, of which the last is of the last.
func TestChangesInARowCoalesce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kubelet, err := util.NewAtomicWriter(dir, "test")
	check(t, err)
	write := func(content string) {
		t.Helper()
		check(t, kubelet.Write(map[string]util.FileProjection{"ca.crt": {Data: []byte(content), Mode: 0o600}}, nil))
	}
	write("first")
	contents := follow(t, filepath.Join(dir, "ca.crt"), 100*time.Millisecond)
	if c := next(t, contents); string(c.Data) != "first" || c.Err != nil {
		t.Fatalf("got %q, %v", c.Data, c.Err)
	}
	for i := range 100 {
		write(fmt.Sprint("change ", i))
	}
	reports := 1
	for string(next(t, contents).Data) != "change 99" {
		reports++
	}
	if reports > 50 { // one, but for a machine that stands still between two writes
		t.Errorf("%d reports of 100 changes", reports)
	}
}

func TestWhateverBecomesOfTheFileIsReported(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	contents := follow(t, path, time.Millisecond)
	for _, step := range []struct {
		name   string
		change func() error
		want   string
		err    error
	}{
		{"not there at first", func() error { return nil }, "", fs.ErrNotExist},
		{"it appears", func() error { return os.WriteFile(path, []byte("a"), 0o600) }, "a", nil},
		{"removed", func() error { return os.Remove(path) }, "", fs.ErrNotExist},
		{"a folder", func() error { return os.Mkdir(path, 0o700) }, "", filewatch.ErrNotRegular},
		{"a file again", func() error { return errors.Join(os.Remove(path), os.WriteFile(path, []byte("b"), 0o600)) }, "b", nil},
		{"larger than is read", func() error { return os.WriteFile(path, []byte(strings.Repeat("c", 1000)), 0o600) }, strings.Repeat("c", 101), nil},
	} {
		check(t, step.change())
		for c := next(t, contents); string(c.Data) != step.want || !errors.Is(c.Err, step.err); c = next(t, contents) {
			t.Logf("%s: first %q, %v", step.name, c.Data, c.Err)
		}
	}
}
