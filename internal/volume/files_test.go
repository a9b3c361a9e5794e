// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// generation is a set of files that belong together.
func generation(n int) map[string][]byte {
	content := fmt.Appendf(nil, "generation %d", n)
	return map[string][]byte{"tls.crt": content, "tls.key": content, "ca.crt": content}
}

// mustHold fails the test unless the volume has these files and no others, and
// of earlier ones nothing but what a reader may have open.
func mustHold(t *testing.T, store *volume.Store, files map[string][]byte) {
	t.Helper()
	for name, want := range files {
		if got, err := store.ReadFile(id, name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s reads %q, %v, want %q", name, got, err, want)
		}
	}
	var visible, hidden []string
	for _, name := range names(t, store.DataPath(id)) {
		if strings.HasPrefix(name, "..") {
			hidden = append(hidden, name)
		} else {
			visible = append(visible, name)
		}
	}
	if len(visible) != len(files) {
		t.Errorf("visible are %q, want those of %d files", visible, len(files))
	}
	if len(hidden) < 2 || slices.Contains(hidden, "..data_tmp") {
		t.Errorf("beside them are %q, want ..data and what it leads to", hidden)
	}
	for _, dir := range hidden {
		if key, err := os.ReadFile(filepath.Join(store.DataPath(id), dir, "tls.key")); err == nil && bytes.Equal(key, strayKey) {
			t.Errorf("%s is left of a process that was killed", dir)
		}
	}
}

func TestWriteReplacesTheFiles(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	mustHold(t, store, generation(1))
	check(t, store.Write(id, generation(2), volume.Metadata{}))
	mustHold(t, store, generation(2))
	check(t, store.Write(id, generation(2), volume.Metadata{}))
	mustHold(t, store, generation(2))

	fewer := generation(3)
	delete(fewer, "ca.crt")
	check(t, store.Write(id, fewer, volume.Metadata{}))
	mustHold(t, store, fewer)
	check(t, store.Write(id, map[string][]byte{"svid.pem": []byte("renamed")}, volume.Metadata{}))
	mustHold(t, store, map[string][]byte{"svid.pem": []byte("renamed")})
}

// A reader that opens the directory behind ..data once, as a careful one does,
// finds all files of one generation in it, however often they are replaced
// meanwhile. By its plain name a file is always there, for readers who know
// nothing of this.
func TestReadersSeeOneGenerationWhole(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(0), volume.Metadata{}))
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- readUntil(stop, store.DataPath(id)) }()
	for n := range 300 {
		check(t, store.Write(id, generation(n+1), volume.Metadata{}))
	}
	close(stop)
	check(t, <-done)
}

func readUntil(stop <-chan struct{}, data string) error {
	for reads := 0; ; reads++ {
		select {
		case <-stop:
			if reads == 0 {
				return errors.New("nothing was read")
			}
			return nil
		default:
		}
		if _, err := os.ReadFile(filepath.Join(data, "tls.crt")); err != nil {
			return err
		}
		seen, err := readOnce(data)
		if err != nil {
			return err
		}
		if len(slices.Compact(seen)) > 1 {
			return fmt.Errorf("files of different generations: %q", seen)
		}
	}
}

func readOnce(data string) ([]string, error) {
	dir, err := os.OpenRoot(filepath.Join(data, "..data"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var seen []string
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		content, err := dir.ReadFile(name)
		if err != nil {
			return nil, err
		}
		seen = append(seen, string(content))
	}
	return seen, nil
}

func TestModes(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	for path, want := range map[string]os.FileMode{
		filepath.Join(store.Root(), id):                  os.ModeDir | 0o700,
		filepath.Join(store.Root(), id, "metadata.json"): 0o600,
		store.DataPath(id):                               os.ModeDir | 0o550,
		filepath.Join(store.DataPath(id), "tls.crt"):     0o440,
		filepath.Join(store.DataPath(id), "tls.key"):     0o440,
		filepath.Join(store.DataPath(id), "ca.crt"):      0o440,
	} {
		info, err := os.Stat(path)
		check(t, err)
		if info.Mode() != want {
			t.Errorf("%s has mode %s, want %s", path, info.Mode(), want)
		}
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 0 || owner.Gid != 0 {
			t.Errorf("%s is of %d:%d, want 0:0", path, owner.Uid, owner.Gid)
		}
	}
}

func TestFilesAreOfTheGroup(t *testing.T) {
	t.Parallel()
	store := open(t)
	probe := filepath.Join(t.TempDir(), "probe")
	check(t, os.WriteFile(probe, nil, 0o600))
	for _, group := range []int64{1000, 1<<32 - 2, 0} {
		if err := os.Chown(probe, -1, int(group)); errors.Is(err, syscall.EINVAL) {
			t.Skipf("group %d does not exist in this user namespace", group)
		}
		check(t, store.Write(id, generation(int(group)), volume.Metadata{FSGroup: &group}))
		for _, name := range []string{"", "tls.crt", "tls.key", "ca.crt"} {
			info, err := os.Stat(filepath.Join(store.DataPath(id), name))
			check(t, err)
			if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 0 || int64(owner.Gid) != group {
				t.Errorf("data/%s is of %d:%d, want 0:%d", name, owner.Uid, owner.Gid, group)
			}
		}
	}
}

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
