// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// What a process leaves behind when it is killed while it writes never keeps
// the next one from writing, and is gone then: it holds private keys.
func TestWriteClearsUpAfterAProcessThatWasKilled(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		leave func(t *testing.T, data string)
	}{
		{"while writing the new files", func(t *testing.T, data string) {
			leaveGeneration(t, data)
		}},
		{"between making the new link and swapping", func(t *testing.T, data string) {
			check(t, os.Symlink(leaveGeneration(t, data), filepath.Join(data, "..data_tmp")))
		}},
		{"before deleting the old files", func(t *testing.T, data string) {
			leaveGeneration(t, data)
			leaveGeneration(t, data)
		}},
		{"before making the visible links", func(t *testing.T, data string) {
			check(t, os.Remove(filepath.Join(data, "tls.key")))
		}},
		{"while writing metadata", func(t *testing.T, data string) {
			check(t, os.WriteFile(filepath.Join(filepath.Dir(data), "metadata.json.new"), []byte(`{"ver`), 0o600))
		}},
	} {
		for _, tidied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, tidied %v", row.name, tidied), func(t *testing.T) {
				t.Parallel()
				store := open(t)
				check(t, store.Write(id, generation(1), volume.Metadata{PodName: "before"}))
				row.leave(t, store.DataPath(id))
				if tidied {
					// As the next process does when it starts: what readers might have
					// open stays for a while, and is in nobody's way.
					store.Tidy(id)
				}
				check(t, store.Write(id, generation(2), volume.Metadata{PodName: "after"}))
				if !tidied {
					mustHold(t, store, generation(2))
				}
				for name, want := range generation(2) {
					if got, err := store.ReadFile(id, name); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s reads %q, %v", name, got, err)
					}
				}
				if meta, err := store.ReadMetadata(id); err != nil || meta.PodName != "after" {
					t.Errorf("metadata %+v, %v", meta, err)
				}
			})
		}
	}
}

func TestWriteHealsAVolumeOfWhichOnlyTheDirectoryIsThere(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, os.MkdirAll(store.DataPath(id), 0o550))
	check(t, os.Symlink(leaveGeneration(t, store.DataPath(id)), filepath.Join(store.DataPath(id), "..data_tmp")))
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	mustHold(t, store, generation(1))
}

// strayKey is in what processes that were killed leave behind.
var strayKey = []byte("a key that nobody has asked for")

// leaveGeneration makes a directory of files as an unfinished write does.
func leaveGeneration(t *testing.T, data string) string {
	t.Helper()
	name := "..2026_01_02_03_04_05." + strconv.Itoa(len(names(t, data)))
	dir := filepath.Join(data, name)
	check(t, os.Mkdir(dir, 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "tls.key"), strayKey, 0o440))
	return name
}

func TestAWriteThatFailsKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		files map[string][]byte
	}{
		{"a file name that leads elsewhere", map[string][]byte{"tls.crt": nil, "../../x": nil}},
		{"an absolute file name", map[string][]byte{"tls.crt": nil, "/x": nil}},
		{"a file name that begins with dots", map[string][]byte{"tls.crt": nil, "..x": nil}},
		{"an empty file name", map[string][]byte{"tls.crt": nil, "": nil}},
		{"no space left", map[string][]byte{"tls.crt": nil, "tls.key": bytes.Repeat([]byte("k"), 1<<20)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			store := open(t)
			check(t, unix.Mount("", store.Root(), "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=512k"))
			check(t, store.Write(id, generation(1), volume.Metadata{PodName: "before"}))
			// Again and again: what is left of each must not add up.
			for range 3 {
				if err := store.Write(id, row.files, volume.Metadata{PodName: "after"}); err == nil || !strings.Contains(err.Error(), id) {
					t.Fatalf("got %v, want an error that names the volume", err)
				}
				mustHold(t, store, generation(1))
			}
			if meta, err := store.ReadMetadata(id); err != nil || meta.PodName != "before" {
				t.Errorf("metadata %+v, %v", meta, err)
			}
			if _, err := os.Stat(filepath.Join(store.Root(), "x")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a file outside the volume: %v", err)
			}
		})
	}
}
