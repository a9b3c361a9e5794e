// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csiserver_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/csitest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
)

func TestNodeServiceDescribesItself(t *testing.T) {
	t.Parallel()
	s := serveDefault(t)
	capabilities, err := s.NodeGetCapabilities(t.Context(), nil)
	check(t, err)
	if all := capabilities.GetCapabilities(); len(all) != 1 ||
		all[0].GetRpc().GetType() != csi.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP {
		t.Errorf("got %v", all)
	}
	info, err := s.NodeGetInfo(t.Context(), nil)
	if err != nil || info.GetNodeId() != "worker-1" {
		t.Errorf("got %v, %v", info, err)
	}
}

// What is on the way to a target may belong to others.
func TestPlaceOfAGoodTarget(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name      string
		arrange   func(t *testing.T, kubeletRoot string)
		publish   error
		code      codes.Code
		unpublish error
	}{
		{"nothing", func(*testing.T, string) {}, nil, codes.OK, nil},
		{"a link to another pod", func(t *testing.T, root string) {
			check(t, os.Symlink("other", filepath.Join(root, "pods", csitest.PodUID)))
		}, mounts.ErrRefused, codes.InvalidArgument, mounts.ErrRefused},
		{"a file", func(t *testing.T, root string) {
			check(t, os.WriteFile(filepath.Join(root, "pods", csitest.PodUID), nil, 0o600))
		}, mounts.ErrTargetInUse, codes.FailedPrecondition, nil},
		{
			"no folder for pods", func(t *testing.T, root string) { check(t, os.Remove(filepath.Join(root, "pods"))) },
			mounts.ErrNoKubelet, codes.FailedPrecondition, nil,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			row.arrange(t, s.kubeletRoot)
			req := s.publishRequest()
			if row.publish == nil {
				mustBePublished(t, s, req)
			} else {
				mustBeRefused(t, s, req, row.publish, row.code, row.publish.Error())
			}
			_, err := s.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: csitest.VolumeID, TargetPath: req.TargetPath})
			if (err == nil) != (row.unpublish == nil) || err != nil && !strings.Contains(err.Error(), row.unpublish.Error()) {
				t.Errorf("unpublish: %v, want %v", err, row.unpublish)
			}
		})
	}
}

// A volume that is there is not failed because of a request that cannot be used.
func TestRequestThatCannotBeUsedForAVolumeThatIsThere(t *testing.T) {
	t.Parallel()
	s := serveDefault(t)
	s.volumes.keeps = true
	req := csitest.PublishRequest()
	req.Readonly = false
	req.VolumeContext[csitest.KeyPodName] = strings.Repeat("x", 1000)
	_, err := s.NodePublishVolume(t.Context(), req)
	check(t, err)
	got := s.volumes.unusable
	if got.VolumeID != csitest.VolumeID || got.TargetPath != csitest.Target || got.PodNamespace != "sandbox" || got.PodUID != csitest.PodUID ||
		!strings.HasSuffix(got.PodName, "(1000 bytes)") || len(s.volumes.published) != 0 {
		t.Errorf("handed on is %+v, published %+v", got, s.volumes.published)
	}
	if log := s.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, `"level":"WARN"`) || !strings.Contains(log, "readOnly must be true") {
		t.Errorf("the log says %s", log)
	}
}

const occupiedTarget = "/var/lib/kubelet/pods/y/volumes/kubernetes.io~csi/spiffe/mount"

func TestUnpublishIsRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, id, target string
		want             error
	}{
		{"good", csitest.VolumeID, csitest.Target, nil},
		{"live, from when the kubelet's folder was another", "csi-live", "/data/kubelet/pods/x/mount", nil},
		{"elsewhere than where it is live", "csi-live", "/data/kubelet/pods/y/mount", mounts.ErrRefused},
		{"no ID", "", csitest.Target, mounts.ErrRefused},
		{"an ID that leads elsewhere", "../x", csitest.Target, mounts.ErrRefused},
		{"an ID of a megabyte", strings.Repeat("x", 1<<20), csitest.Target, mounts.ErrRefused},
		{"no target", csitest.VolumeID, "", mounts.ErrRefused},
		{"the root", csitest.VolumeID, "/", mounts.ErrRefused},
		{"a folder of the system", csitest.VolumeID, "/etc", mounts.ErrRefused},
		{"the folder of all pods", csitest.VolumeID, "/var/lib/kubelet/pods", mounts.ErrRefused},
		{"the folder of a pod", csitest.VolumeID, "/var/lib/kubelet/pods/x", mounts.ErrRefused},
		{"a Secret of a pod", csitest.VolumeID, "/var/lib/kubelet/pods/x/volumes/kubernetes.io~secret/x", mounts.ErrRefused},
		{"a Secret of a pod, as deep", csitest.VolumeID, "/var/lib/kubelet/pods/x/volumes/kubernetes.io~secret/x/mount", mounts.ErrRefused},
		{"where another is live", csitest.VolumeID, occupiedTarget, mounts.ErrOccupied},
		{"where it is live, too", "csi-there", occupiedTarget, nil},
		{"a way out", csitest.VolumeID, "/var/lib/kubelet/pods/../../../../etc", mounts.ErrRefused},
	} {
		s := serveDefault(t)
		s.volumes.at = map[string]string{"/data/kubelet/pods/x/mount": "csi-live", occupiedTarget: "csi-there"}
		_, err := s.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: row.id, TargetPath: row.target})
		if (err == nil) != (row.want == nil) || err != nil && !strings.Contains(err.Error(), row.want.Error()) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
		var want []string
		if row.want == nil {
			want = []string{row.id + " " + row.target}
		}
		if got := s.volumes.unpublished; !slices.Equal(got, want) {
			t.Errorf("%s: unpublished are %q, want %q", row.name, got, want)
		}
	}
}

func TestUnpublishThatFails(t *testing.T) {
	t.Parallel()
	s := serveDefault(t)
	s.volumes.unpublishErr = os.ErrPermission
	_, err := s.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: csitest.VolumeID, TargetPath: csitest.Target})
	if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), os.ErrPermission.Error()) {
		t.Errorf("got %v", err)
	}
	if log := s.log.String(); !strings.Contains(log, `"msg":"unpublish failed"`) || !strings.Contains(log, csitest.VolumeID) {
		t.Errorf("the log says %s", log)
	}
}
