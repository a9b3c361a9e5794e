// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume/volumetest"
)

// A file system that is dead hides a live volume from nobody: it gives way.
func TestDeadMountOverALiveVolumeGivesWay(t *testing.T) {
	n := newNode(t)
	n.publish(t, time.Now(), time.Now().Add(time.Hour))
	request := goodRequest()
	request.TargetPath = n.target
	volumetest.MountDead(t, n.target)
	d, log, err := n.start(t)
	check(t, err)
	for range 2 {
		if hidden := d.VolumesHidden(); hidden != 0 {
			t.Errorf("%d are hidden: %s", hidden, log)
		}
		_, err = d.server.NodePublishVolume(t.Context(), request)
		check(t, err)
		mounted, err := n.store.Mounted(testVolume, n.target)
		if err != nil || !mounted {
			t.Errorf("mounted: %t, %v", mounted, err)
		}
		volumetest.MountDead(t, n.target) // and while the driver runs
	}
}

// A pod that starts must not start with a dead file system in place of its document.
func TestDeadMountIsNoVolume(t *testing.T) {
	n := newNode(t)
	d, _, err := n.start(t)
	check(t, err)
	check(t, os.MkdirAll(filepath.Dir(n.target), 0o750))
	volumetest.MountDead(t, n.target)
	request := goodRequest()
	request.TargetPath = n.target
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	_, err = d.server.NodePublishVolume(ctx, request) // there is no API server
	if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "the API server has not answered") {
		t.Errorf("the kubelet is told %v", err)
	}
}
