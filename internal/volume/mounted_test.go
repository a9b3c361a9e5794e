// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// Where volumes are mounted is told by the mount table alone.
func TestTargets(t *testing.T) {
	t.Parallel()
	store, other := open(t), open(t)
	at, elsewhere, ofOther := target(t, "at"), target(t, "elsewhere"), target(t, "of other")
	for _, s := range []*volume.Store{store, other} {
		check(t, s.Write(id, generation(1), volume.Metadata{}))
	}
	check(t, store.Mount(id, at))
	check(t, other.Mount(id, ofOther))
	check(t, os.MkdirAll(elsewhere, 0o750))
	check(t, unix.Mount(filepath.Join(store.Root(), id), elsewhere, "", unix.MS_BIND, "")) // the folder above
	if got, err := store.Targets(); err != nil || !maps.Equal(got, map[string]string{id: at}) {
		t.Errorf("got %q, %v, want the volume at %s", got, err, at)
	}
}

// What somebody else has mounted is not trusted.
func TestReadMounted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mount")
	check(t, os.MkdirAll(filepath.Join(dir, "..data"), 0o750))
	outside := filepath.Join(filepath.Dir(dir), "outside")
	check(t, os.WriteFile(outside, []byte("secret"), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "..data", "tls.crt"), []byte("document"), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "large"), bytes.Repeat([]byte("x"), 1<<20), 0o600))
	check(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for name, to := range map[string]string{"tls.crt": "..data/tls.crt", "out": outside, "up": "../outside", "loop": "loop"} {
		check(t, os.Symlink(to, filepath.Join(dir, name)))
	}
	for name, want := range map[string]string{"tls.crt": "document", "out": "", "up": "", "loop": "", "fifo": "", "..data": "", "none": "", "../outside": ""} {
		if got, err := volume.ReadMounted(dir, name); string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	if got, err := volume.ReadMounted(dir, "large"); err != nil || len(got) != 64<<10 {
		t.Errorf("of a large file %d bytes, %v", len(got), err)
	}
}
