// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package trustbundle_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
)

func TestSourceKeepsTheLastGoodBundle(t *testing.T) {
	t.Parallel()
	first, key := newCA(t)
	second, _ := newCA(t)
	path := filepath.Join(t.TempDir(), "ca.pem")
	var source trustbundle.Source
	for _, step := range []struct {
		name    string
		content string // "" removes the file
		want    string // what is returned
		err     error
	}{
		{"no file yet", "", "", fs.ErrNotExist},
		{"not a bundle yet", "nothing", "", trustbundle.ErrNoCertificate},
		{"good", first, first, nil},
		{"gone", "", first, fs.ErrNotExist},
		{"empty", "\n", first, trustbundle.ErrNoCertificate},
		{"cut short", second[:len(second)-30], first, trustbundle.ErrNotCertificates},
		{"a key", second + key, first, trustbundle.ErrNotCertificates},
		{"too large", strings.Repeat("#", 2*trustbundle.MaxSize), first, trustbundle.ErrTooLarge},
		{"another", "# new\n" + second, second, nil},
		{"gone again", "", second, fs.ErrNotExist},
	} {
		if step.content == "" {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		} else {
			check(t, os.WriteFile(path, []byte(step.content), 0o600))
		}
		got, err := source.Read(path)
		if string(got) != step.want || !errors.Is(err, step.err) {
			t.Fatalf("%s: got %q, %v, want %q, %v", step.name, got, err, step.want, step.err)
		}
		if err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %q does not name the file", step.name, err)
		}
	}
}

func TestSourceTellsPathsApart(t *testing.T) {
	t.Parallel()
	good, _ := newCA(t)
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "good"), []byte(good), 0o600))
	var source trustbundle.Source
	_, err := source.Read(filepath.Join(dir, "good"))
	check(t, err)
	if got, err := source.Read(filepath.Join(dir, "missing")); got != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := source.Read(dir); got != nil || err == nil {
		t.Errorf("a directory: got %q, %v", got, err)
	}
}

func TestSourceIsForManyGoroutines(t *testing.T) {
	t.Parallel()
	good, _ := newCA(t)
	path := filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(path, []byte(good), 0o600))
	var source trustbundle.Source
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for range 50 {
				if got, err := source.Read(path); err != nil || string(got) != good {
					t.Errorf("got %q, %v", got, err)
				}
			}
		})
	}
	readers.Wait()
}
