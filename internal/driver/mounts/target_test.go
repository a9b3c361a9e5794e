// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package mounts_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
)

// kubeletRoot is the kubelet's folder, and target the path of a volume in it.
const (
	kubeletRoot = "/var/lib/kubelet"
	target      = kubeletRoot + "/pods/c2f0f7a1-54d8-4d3b-b1a0-6a3e9d1c7b42/volumes/kubernetes.io~csi/spiffe/mount"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPodUID(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, path, uid string }{
		{"the kubelet's", target, "c2f0f7a1-54d8-4d3b-b1a0-6a3e9d1c7b42"},
		{"another folder of the kubelet", "/data/pods/uid/volumes/kubernetes.io~csi/spiffe/mount", "uid"},
		{"another last name", "/data/pods/uid/volumes/kubernetes.io~csi/spiffe/other", "uid"},
		{"a Secret", "/data/pods/uid/volumes/kubernetes.io~secret/spiffe/mount", ""},
		{"a folder in a volume", target + "/x", ""},
		{"the folder of a volume", filepath.Dir(target), ""},
		{"relative", "pods/uid/volumes/kubernetes.io~csi/spiffe/mount", ""},
		{"nothing", "", ""},
	} {
		if got := mounts.PodUID(row.path); got != row.uid {
			t.Errorf("%s: got %q, want %q", row.name, got, row.uid)
		}
	}
}

// kubeletTree is a kubelet's folder with what may be in the way of a target
// path, and a secret beside it.
func kubeletTree(t *testing.T) (root string) {
	t.Helper()
	dir := t.TempDir()
	check(t, os.MkdirAll(filepath.Join(dir, "elsewhere", "uid", "mount"), 0o700))
	root = filepath.Join(dir, "kubelet")
	for _, folder := range []string{"uid/mount", "uid/with space", "other/mount"} {
		check(t, os.MkdirAll(filepath.Join(root, "pods", folder), 0o700))
	}
	check(t, os.WriteFile(filepath.Join(root, "pods", "uid", "file"), []byte("precious"), 0o600))
	for name, to := range map[string]string{
		"out": filepath.Join(dir, "elsewhere"), "up": "../../..", "to-other": "../other", "uid/link": "../other/mount", "uid/dangling": "/no/such",
	} {
		check(t, os.Symlink(to, filepath.Join(root, "pods", name)))
	}
	check(t, os.Symlink(root, filepath.Join(dir, "kubelet-link")))
	check(t, os.Mkdir(filepath.Join(dir, "moved"), 0o700))
	check(t, os.Symlink(filepath.Join(root, "pods"), filepath.Join(dir, "moved", "pods")))
	return root
}

func TestCheckPlace(t *testing.T) {
	t.Parallel()
	root := kubeletTree(t)
	for _, row := range []struct {
		name, root, target string
		want               error
	}{
		{"the target is there", root, "uid/mount", nil},
		{"the target is not there yet", root, "uid/none", nil},
		{"nothing of the pod is there yet", root, "none/volumes/mount", nil},
		{"a space in it", root, "uid/with space", nil},
		{"the kubelet's folder is a link", root + "-link", "uid/mount", nil},
		{"the folder for pods is a link", filepath.Join(filepath.Dir(root), "moved"), "uid/mount", nil},
		{"a link leads out", root, "out/uid/mount", mounts.ErrRefused},
		{"a link leads up", root, "up/elsewhere", mounts.ErrRefused},
		{"a link leads to another pod", root, "to-other/mount", mounts.ErrRefused},
		{"the target is a link", root, "uid/link", mounts.ErrRefused},
		{"the target is a link to nothing", root, "uid/dangling", mounts.ErrRefused},
		{"the target is a file", root, "uid/file", mounts.ErrTargetInUse},
		{"a file is on the way", root, "uid/file/mount", mounts.ErrTargetInUse},
		{"a name is too long", root, strings.Repeat("x", 300) + "/mount", mounts.ErrRefused},
		{"there is no kubelet", root + "x", "uid/mount", mounts.ErrNoKubelet},
	} {
		err := mounts.CheckPlace(row.root, filepath.Join(row.root, "pods", row.target))
		if !errors.Is(err, row.want) || (err == nil) != (row.want == nil) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
}

// FuzzCheckTarget: nothing outside of the kubelet's folder for pods is taken for a
// target, whatever it is called, and no error drowns a log.
func FuzzCheckTarget(f *testing.F) {
	for _, path := range []string{target, "/", "/etc", kubeletRoot + "/pods/../x", kubeletRoot + "/pods//", "\x00\n", strings.Repeat("/a", 3000)} {
		f.Add(path)
	}
	isTarget := regexp.MustCompile(`^/var/lib/kubelet/pods/([^/]+)/volumes/kubernetes\.io~csi/[^/]+/[^/]+$`)
	f.Fuzz(func(t *testing.T, path string) {
		uid, err := mounts.CheckTarget(kubeletRoot, path)
		if err != nil {
			if !errors.Is(err, mounts.ErrRefused) || len(err.Error()) > 1500 || uid != "" {
				t.Errorf("%q, and an error of %d bytes: %v", uid, len(err.Error()), err)
			}
			return
		}
		parts := isTarget.FindStringSubmatch(path)
		if len(parts) != 2 || parts[1] != uid || filepath.Clean(path) != path || strings.ContainsAny(path, "\x00\n") {
			t.Errorf("taken: %q, of pod %q", path, uid)
		}
	})
}
