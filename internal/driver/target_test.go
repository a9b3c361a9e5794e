// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

const occupiedTarget = "/var/lib/kubelet/pods/y/volumes/kubernetes.io~csi/spiffe/mount"

func TestCheckUnpublish(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, id, target string
		want             error
	}{
		{"good", testVolume, testTarget, nil},
		{"live, from when the kubelet's folder was another", "csi-live", "/data/kubelet/pods/x/mount", nil},
		{"elsewhere than where it is live", "csi-live", "/data/kubelet/pods/y/mount", errRefused},
		{"no ID", "", testTarget, errRefused},
		{"an ID that leads elsewhere", "../x", testTarget, errRefused},
		{"an ID of a megabyte", strings.Repeat("x", 1<<20), testTarget, errRefused},
		{"no target", testVolume, "", errRefused},
		{"the root", testVolume, "/", errRefused},
		{"a folder of the system", testVolume, "/etc", errRefused},
		{"the folder of all pods", testVolume, "/var/lib/kubelet/pods", errRefused},
		{"the folder of a pod", testVolume, "/var/lib/kubelet/pods/x", errRefused},
		{"a Secret of a pod", testVolume, "/var/lib/kubelet/pods/x/volumes/kubernetes.io~secret/x", errRefused},
		{"a Secret of a pod, as deep", testVolume, "/var/lib/kubelet/pods/x/volumes/kubernetes.io~secret/x/mount", errRefused},
		{"where another is live", testVolume, occupiedTarget, errOccupied},
		{"where it is live, too", "csi-there", occupiedTarget, nil},
		{"a way out", testVolume, "/var/lib/kubelet/pods/../../../../etc", errRefused},
	} {
		d := newTestDriver(t, nil)
		state := d.volumes.acquire("csi-live")
		state.setMetadata(&volume.Metadata{TargetPath: "/data/kubelet/pods/x/mount"})
		d.volumes.release(state)
		check(t, d.occupied.take(occupiedTarget, "csi-there"))
		err := d.checkUnpublish(&csi.NodeUnpublishVolumeRequest{VolumeId: row.id, TargetPath: row.target})
		if !errors.Is(err, row.want) || (err == nil) != (row.want == nil) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
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
		{"a link leads out", root, "out/uid/mount", errRefused},
		{"a link leads up", root, "up/elsewhere", errRefused},
		{"a link leads to another pod", root, "to-other/mount", errRefused},
		{"the target is a link", root, "uid/link", errRefused},
		{"the target is a link to nothing", root, "uid/dangling", errRefused},
		{"the target is a file", root, "uid/file", errTargetInUse},
		{"a file is on the way", root, "uid/file/mount", errTargetInUse},
		{"a name is too long", root, strings.Repeat("x", 300) + "/mount", errRefused},
		{"there is no kubelet", root + "x", "uid/mount", errNoKubelet},
	} {
		err := checkPlace(row.root, filepath.Join(row.root, "pods", row.target))
		if !errors.Is(err, row.want) || (err == nil) != (row.want == nil) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
}

// FuzzCheckUnpublish: nothing outside of the kubelet's folder for pods is taken
// for a target, whatever it is called, and no error drowns a log.
func FuzzCheckUnpublish(f *testing.F) {
	for _, target := range []string{testTarget, "/", "/etc", "/var/lib/kubelet/pods/../x", "/var/lib/kubelet/pods//", "\x00\n", strings.Repeat("/a", 3000)} {
		f.Add(testVolume, target)
		f.Add("../x", target)
	}
	d := &Driver{config: config.NewHolder(testConfig(f))}
	f.Fuzz(func(t *testing.T, id, target string) {
		err := d.checkUnpublish(&csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: target})
		if err != nil {
			if !errors.Is(err, errRefused) || len(err.Error()) > 5*maxWords {
				t.Errorf("%d bytes: %v", len(err.Error()), err)
			}
			return
		}
		if !isTarget.MatchString(target) || filepath.Clean(target) != target || strings.ContainsAny(id+target, "\x00\n") || strings.Contains(id, "/") {
			t.Errorf("taken: %q, %q", id, target)
		}
	})
}
