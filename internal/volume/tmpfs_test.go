// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func TestOpenMountsATmpfsThatKeepsSecrets(t *testing.T) {
	t.Parallel()
	store := open(t)
	mounts := mountsAt(t, store.Root())
	if len(mounts) != 1 {
		t.Fatalf("%d mounts at %s, want 1", len(mounts), store.Root())
	}
	if mounts[0].FSType != "tmpfs" {
		t.Errorf("a %s, want a tmpfs", mounts[0].FSType)
	}
	options := strings.Split(mounts[0].Options+","+mounts[0].VFSOptions, ",")
	want := []string{"rw", "nosuid", "nodev", "noexec", "mode=700"}
	if canNoSwap(t) {
		want = append(want, "noswap")
	}
	for _, option := range want {
		if !slices.Contains(options, option) {
			t.Errorf("mounted with %q, without %s", options, option)
		}
	}
	info, err := os.Stat(store.Root())
	check(t, err)
	if info.Mode() != os.ModeDir|0o700 {
		t.Errorf("mode %s, want drwx------", info.Mode())
	}
}

// canNoSwap reports whether the kernel has the option, from Linux 6.4 on, and
// lets us use it, which it does not in a user namespace.
func canNoSwap(t *testing.T) bool {
	t.Helper()
	var name unix.Utsname
	check(t, unix.Uname(&name))
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	users, err := os.ReadFile("/proc/self/uid_map")
	check(t, err)
	initial := slices.Equal(strings.Fields(string(users)), []string{"0", "0", "4294967295"})
	return initial && (major > 6 || major == 6 && minor >= 4)
}

func TestOpenTakesOverTheTmpfsOfAnEarlierProcess(t *testing.T) {
	t.Parallel()
	before := open(t)
	check(t, before.Write(id, map[string][]byte{"tls.key": []byte("key")}, volume.Metadata{PodName: "web-0"}))

	after, err := volume.Open(before.Root())
	check(t, err)
	if n := len(mountsAt(t, after.Root())); n != 1 {
		t.Errorf("%d mounts, want the 1 that was there", n)
	}
	if key, err := after.ReadFile(id, "tls.key"); err != nil || string(key) != "key" {
		t.Errorf("the file reads %q, %v", key, err)
	}
	if meta, err := after.ReadMetadata(id); err != nil || meta.PodName != "web-0" {
		t.Errorf("the metadata reads %+v, %v", meta, err)
	}
}

// What an earlier process has mounted may be swapped out or not, whatever this one
// would mount.
func TestOpenKnowsWhetherWhatItTakesOverMayBeSwappedOut(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	for _, row := range []struct {
		name, options string
		want          bool
	}{
		{"may be", "", true},
		{"may not be", "noswap", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if !row.want && !canNoSwap(t) {
				t.Skip("the kernel has no noswap, or not for us")
			}
			root := t.TempDir()
			check(t, unix.Mount("csi-driver-spiffe", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, row.options))
			t.Cleanup(func() { check(t, unix.Unmount(root, 0)) })
			store, err := volume.Open(root)
			check(t, err)
			if n := len(mountsAt(t, root)); n != 1 {
				t.Fatalf("%d mounts, want the 1 that was there", n)
			}
			// As a driver does, which must not change it.
			check(t, store.Resize())
			if got := store.Swappable(); got != row.want {
				t.Errorf("may be swapped out: %t, want %t", got, row.want)
			}
		})
	}
}

// A root that lies on somebody else's tmpfs, or is one, gets a tmpfs of the
// store's own: options and lifetime of the other are not known.
func TestOpenMountsOverAForeignTmpfs(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	for _, row := range []struct{ name, root string }{
		{"at the root", ""},
		{"above the root", "below/that"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			foreign := t.TempDir()
			check(t, unix.Mount("tmpfs", foreign, "tmpfs", 0, ""))
			t.Cleanup(func() { check(t, unix.Unmount(foreign, 0)) })
			root := filepath.Join(foreign, row.root)
			check(t, os.MkdirAll(root, 0o700))
			check(t, os.WriteFile(filepath.Join(root, "theirs"), nil, 0o600))

			store, err := volume.Open(root)
			check(t, err)
			t.Cleanup(func() { check(t, unix.Unmount(root, 0)) })
			if got := names(t, store.Root()); len(got) != 0 {
				t.Errorf("the store begins with %q", got)
			}
			mounts := mountsAt(t, root)
			top := mounts[len(mounts)-1]
			if !strings.Contains(top.Options, "noexec") {
				t.Errorf("the mount on top is %+v", top)
			}
		})
	}
}

func TestOpenFollowsASymbolicLink(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, "run"), 0o700))
	check(t, os.Symlink("run", filepath.Join(dir, "var-run")))
	root := filepath.Join(dir, "var-run", "store")
	first := openAt(t, root)
	if want := filepath.Join(dir, "run", "store"); first.Root() != want {
		t.Errorf("root %s, want %s", first.Root(), want)
	}
	second, err := volume.Open(root)
	check(t, err)
	if n := len(mountsAt(t, second.Root())); n != 1 {
		t.Errorf("%d mounts after opening twice, want 1", n)
	}
}

// What is mounted over a parent of the root hides the store's tmpfs, though the
// mount table still lists it: private keys must not land on what hides it.
func TestOpenIsNotFooledByATmpfsThatIsHidden(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	parent := t.TempDir()
	root := filepath.Join(parent, "store")
	openAt(t, root)
	check(t, unix.Mount("foreign", parent, "tmpfs", 0, ""))
	t.Cleanup(func() { check(t, unix.Unmount(parent, 0)) })

	store, err := volume.Open(root)
	check(t, err)
	t.Cleanup(func() { check(t, unix.Unmount(root, 0)) })
	var here, above unix.Stat_t
	check(t, unix.Stat(store.Root(), &here))
	check(t, unix.Stat(parent, &above))
	if here.Dev == above.Dev {
		t.Error("the store lies on the foreign file system")
	}
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	check(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	for _, name := range []string{"file", "file/below", "dangling"} {
		if store, err := volume.Open(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s: opened %s", name, store.Root())
		}
	}
}

func TestOpenWithoutTheRightToMountSaysSo(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("is about users who may not mount, and runs as root")
	}
	_, err := volume.Open(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "mounting needs root, or CAP_SYS_ADMIN") {
		t.Errorf("got %v", err)
	}
}
