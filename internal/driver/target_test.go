// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
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
		{"elsewhere than where it is live", "csi-live", "/data/kubelet/pods/y/mount", mounts.ErrRefused},
		{"no ID", "", testTarget, mounts.ErrRefused},
		{"an ID that leads elsewhere", "../x", testTarget, mounts.ErrRefused},
		{"an ID of a megabyte", strings.Repeat("x", 1<<20), testTarget, mounts.ErrRefused},
		{"no target", testVolume, "", mounts.ErrRefused},
		{"the root", testVolume, "/", mounts.ErrRefused},
		{"a folder of the system", testVolume, "/etc", mounts.ErrRefused},
		{"the folder of all pods", testVolume, "/var/lib/kubelet/pods", mounts.ErrRefused},
		{"the folder of a pod", testVolume, "/var/lib/kubelet/pods/x", mounts.ErrRefused},
		{"a Secret of a pod", testVolume, "/var/lib/kubelet/pods/x/volumes/kubernetes.io~secret/x", mounts.ErrRefused},
		{"a Secret of a pod, as deep", testVolume, "/var/lib/kubelet/pods/x/volumes/kubernetes.io~secret/x/mount", mounts.ErrRefused},
		{"where another is live", testVolume, occupiedTarget, mounts.ErrOccupied},
		{"where it is live, too", "csi-there", occupiedTarget, nil},
		{"a way out", testVolume, "/var/lib/kubelet/pods/../../../../etc", mounts.ErrRefused},
	} {
		d := newTestDriver(t, nil)
		state := d.volumes.acquire("csi-live")
		state.setMetadata(&volume.Metadata{TargetPath: "/data/kubelet/pods/x/mount"})
		d.volumes.release(state)
		check(t, d.targets.Claim(occupiedTarget, "csi-there"))
		err := d.checkUnpublish(&csi.NodeUnpublishVolumeRequest{VolumeId: row.id, TargetPath: row.target})
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
			if !errors.Is(err, mounts.ErrRefused) || len(err.Error()) > 5*maxText {
				t.Errorf("%d bytes: %v", len(err.Error()), err)
			}
			return
		}
		if !isTarget.MatchString(target) || filepath.Clean(target) != target || strings.ContainsAny(id+target, "\x00\n") || strings.Contains(id, "/") {
			t.Errorf("taken: %q, %q", id, target)
		}
	})
}
