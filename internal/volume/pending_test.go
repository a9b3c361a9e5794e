// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func TestPendingRequestIsKeptBesideTheFiles(t *testing.T) {
	t.Parallel()
	store := open(t)
	if _, err := store.ReadPending(id); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	check(t, store.RemovePending(id))
	for _, content := range []string{"first", "second"} {
		check(t, store.WritePending(id, []byte(content)))
		if got, err := store.ReadPending(id); err != nil || string(got) != content {
			t.Errorf("reads %q, %v, want %q", got, err, content)
		}
	}
	info, err := os.Stat(filepath.Join(store.Root(), id, "pending.json"))
	check(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("mode %s, want that only root may read the key", info.Mode())
	}
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	check(t, store.RemovePending(id))
	mustHold(t, store, generation(1))
}

func TestNothingIsLeftOfAVolumeThatHadOnlyARequest(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.WritePending(id, []byte("key")))
	check(t, store.RemovePending(id))
	if left := names(t, store.Root()); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	check(t, store.WritePending(id, []byte("key")))
	check(t, store.RemoveData(id))
	if left := names(t, filepath.Join(store.Root(), id)); !slices.Equal(left, []string{"pending.json"}) {
		t.Errorf("left are %q, want the request that is under way", left)
	}
	check(t, store.RemovePending(id))
	check(t, store.RemoveData(id))
	if left := names(t, store.Root()); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
}

// Whatever is in the place of a file or directory, a write puts the right thing
// there.
func TestWriteHealsWhatIsInItsPlace(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		damage func(t *testing.T, dir string)
	}{
		{"a file for the volume", func(t *testing.T, dir string) {
			check(t, os.RemoveAll(dir))
			check(t, os.WriteFile(dir, nil, 0o600))
		}},
		{"a file for the directory of the files", func(t *testing.T, dir string) {
			check(t, os.RemoveAll(filepath.Join(dir, "data")))
			check(t, os.WriteFile(filepath.Join(dir, "data"), nil, 0o600))
		}},
		{"directories for the metadata and the request", func(t *testing.T, dir string) {
			for _, name := range []string{"metadata.json", "metadata.json.new", "pending.json", "pending.json.new"} {
				check(t, os.RemoveAll(filepath.Join(dir, name)))
				check(t, os.MkdirAll(filepath.Join(dir, name, "x"), 0o700))
			}
		}},
		{"a directory for the link", func(t *testing.T, dir string) {
			check(t, os.Remove(filepath.Join(dir, "data", "..data")))
			check(t, os.MkdirAll(filepath.Join(dir, "data", "..data", "x"), 0o700))
		}},
		{"a link that leads nowhere", func(t *testing.T, dir string) {
			check(t, os.Remove(filepath.Join(dir, "data", "..data")))
			check(t, os.Symlink("..gone", filepath.Join(dir, "data", "..data")))
		}},
		{"a file, and a directory, for the names", func(t *testing.T, dir string) {
			check(t, os.Remove(filepath.Join(dir, "data", "tls.key")))
			check(t, os.WriteFile(filepath.Join(dir, "data", "tls.key"), strayKey, 0o600))
			check(t, os.Remove(filepath.Join(dir, "data", "tls.crt")))
			check(t, os.MkdirAll(filepath.Join(dir, "data", "tls.crt", "x"), 0o700))
		}},
		{"a stray file and directory", func(t *testing.T, dir string) {
			check(t, os.WriteFile(filepath.Join(dir, "data", "stray"), nil, 0o600))
			check(t, os.MkdirAll(filepath.Join(dir, "data", "..stray", "x"), 0o700))
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			store := open(t)
			check(t, store.Write(id, generation(1), volume.Metadata{}))
			row.damage(t, filepath.Join(store.Root(), id))
			check(t, store.WritePending(id, []byte("key")))
			check(t, store.Write(id, generation(2), volume.Metadata{PodName: "after"}))
			mustHold(t, store, generation(2))
			if meta, err := store.ReadMetadata(id); err != nil || meta.PodName != "after" {
				t.Errorf("metadata %+v, %v", meta, err)
			}
		})
	}
}

func TestStepsAreTold(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	var steps []string
	store, err := volume.Open(filepath.Join(t.TempDir(), "store"), volume.WithSteps(func(name string) { steps = append(steps, name) }))
	check(t, err)
	t.Cleanup(func() { check(t, volume.Unmount(store.Root())) })
	check(t, store.WritePending(id, nil))
	check(t, store.Write(id, map[string][]byte{"tls.key": nil}, volume.Metadata{}))
	check(t, store.Mount(id, target(t, "mount")))
	want := []string{
		"tmpfs mounted", "pending request written", "volume directory made", "generation made", "file written",
		"next link made", "files swapped", "file name made", "metadata written",
		"target path made", "volume mounted",
	}
	if !slices.Equal(steps, want) {
		t.Errorf("got %q, want %q", steps, want)
	}
}
