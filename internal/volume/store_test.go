// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func TestCheckID(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, id string
		good     bool
	}{
		{"as the kubelet makes them", "csi-" + strings.Repeat("0123456789abcdef", 4), true},
		{"one character", "a", true},
		{"begins with a digit", "0", true},
		{"dots, underscores and hyphens within", "a.b_c-d..e", true},
		{"128 bytes", strings.Repeat("a", volume.MaxIDLength), true},
		{"129 bytes", strings.Repeat("a", volume.MaxIDLength+1), false},
		{"a megabyte", strings.Repeat("a", 1<<20), false},
		{"empty", "", false},
		{"this directory", ".", false},
		{"the directory above", "..", false},
		{"a path out", "../x", false},
		{"a path out, in the middle", "x/../../y", false},
		{"a path", "a/b", false},
		{"an absolute path", "/etc", false},
		{"a backslash", `a\b`, false},
		{"a leading dot", ".a", false},
		{"a leading hyphen", "-rf", false},
		{"a leading underscore", "_a", false},
		{"a NUL", "a\x00b", false},
		{"a newline", "a\nb", false},
		{"a newline at the end", "a\n", false},
		{"a space", "a b", false},
		{"not ASCII", "ä", false},
		{"not UTF-8", "a\xff", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			err := volume.CheckID(row.id)
			if (err == nil) != row.good {
				t.Fatalf("CheckID(%.40q) = %v", row.id, err)
			}
			if !row.good && !errors.Is(err, volume.ErrInvalidID) {
				t.Errorf("%v is not ErrInvalidID", err)
			}
			if err != nil && (len(err.Error()) > 1024 || strings.ContainsAny(err.Error(), "\n\x00")) {
				t.Errorf("the message cannot be logged as it is: %.200q", err)
			}
		})
	}
}

// Each method that makes a path of an ID refuses one that would lead elsewhere.
func TestNoMethodTakesAHostileID(t *testing.T) {
	t.Parallel()
	store := open(t)
	for name, do := range map[string]func(id string) error{
		"Write":         func(id string) error { return store.Write(id, map[string][]byte{"a": nil}, volume.Metadata{}) },
		"ReadFile":      func(id string) error { _, err := store.ReadFile(id, "a"); return err },
		"ReadMetadata":  func(id string) error { _, err := store.ReadMetadata(id); return err },
		"Remove":        store.Remove,
		"WriteMetadata": func(id string) error { return store.WriteMetadata(id, volume.Metadata{}) },
		"WritePending":  func(id string) error { return store.WritePending(id, nil) },
		"ReadPending":   func(id string) error { _, err := store.ReadPending(id); return err },
		"RemovePending": store.RemovePending,
		"RemoveData":    store.RemoveData,
		"Mount":         func(id string) error { return store.Mount(id, t.TempDir()) },
		"Mounted":       func(id string) error { _, err := store.Mounted(id, t.TempDir()); return err },
	} {
		for _, hostile := range []string{"", "..", "../x", "a/b", "a\x00", strings.Repeat("a", 129)} {
			if err := do(hostile); !errors.Is(err, volume.ErrInvalidID) {
				t.Errorf("%s(%.20q): %v, want ErrInvalidID", name, hostile, err)
			}
		}
	}
}

func TestListPassesOverWhatIsNoVolume(t *testing.T) {
	t.Parallel()
	store := open(t)
	if ids, err := store.List(); err != nil || len(ids) != 0 {
		t.Fatalf("an empty store lists %q, %v", ids, err)
	}
	check(t, store.Write("b", map[string][]byte{"tls.crt": nil}, volume.Metadata{}))
	check(t, store.Write("a", map[string][]byte{"tls.crt": nil}, volume.Metadata{}))
	for _, dir := range []string{"unreadable", ".hidden", "with space"} {
		check(t, os.Mkdir(filepath.Join(store.Root(), dir), 0o700))
	}
	check(t, os.WriteFile(filepath.Join(store.Root(), "file"), nil, 0o600))
	check(t, os.Symlink("a", filepath.Join(store.Root(), "link")))
	ids, err := store.List()
	check(t, err)
	if want := []string{"a", "b", "unreadable"}; !slices.Equal(ids, want) {
		t.Errorf("got %q, want %q", ids, want)
	}
	strays, err := store.Strays()
	check(t, err)
	if want := []string{".hidden", "file", "link", "with space"}; !slices.Equal(strays, want) {
		t.Errorf("strays are %q, want %q", strays, want)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Remove(id)) // not there
	check(t, store.Write(id, map[string][]byte{"tls.key": []byte("key")}, volume.Metadata{}))
	check(t, store.Write("other", map[string][]byte{"tls.key": []byte("key")}, volume.Metadata{}))
	check(t, store.Remove(id))
	if got := names(t, store.Root()); !slices.Equal(got, []string{"other"}) {
		t.Errorf("left in the store: %q", got)
	}
	if _, err := store.ReadFile(id, "tls.key"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading a file of it: %v", err)
	}
	if _, err := store.ReadMetadata(id); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("reading its metadata: %v, want ErrNotFound", err)
	}
	check(t, store.Remove(id))
}

func TestCloseDestroysEverything(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, map[string][]byte{"tls.key": []byte("key")}, volume.Metadata{}))
	check(t, store.Close())
	if got := names(t, store.Root()); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
	if mounts := mountsAt(t, store.Root()); len(mounts) != 0 {
		t.Errorf("still mounted: %+v", mounts[0])
	}
}
