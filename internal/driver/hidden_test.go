// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
)

// Where another driver's volume is at the target, running containers go on seeing
// that. It is told in the log, in an Event, and in the list, of the next process
// too, until the pod is gone.
func TestVolumeOverThatOfAnotherDriver(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	check(t, n.store.Write(testVolume, svidFiles(t, time.Now(), time.Now().Add(time.Hour)), n.metadata()))
	d, out, err := n.start(t)
	check(t, err)
	if d.VolumesHidden() != 0 {
		t.Error("hidden by nothing")
	}
	var events []string
	d.event = func(warning bool, reason, note string) {
		if warning {
			events = append(events, reason+": "+note)
		}
	}
	check(t, os.MkdirAll(n.target, 0o750))
	check(t, unix.Mount("the earlier driver", n.target, "tmpfs", 0, ""))
	req := goodRequest()
	req.TargetPath = n.target
	for range 2 {
		_, err = d.server.NodePublishVolume(t.Context(), req)
		check(t, err)
	}
	if log := out.String(); strings.Count(log, "level=WARN msg=\"a volume may be hidden from its pod") != 1 || !strings.Contains(log, "the earlier driver") {
		t.Errorf("the log says %s", log)
	}
	if len(events) != 1 || !strings.HasPrefix(events[0], "VolumeHidden: pod sandbox/web-0") || !strings.Contains(events[0], "delete the pod") {
		t.Errorf("the Events are %q", events)
	}
	next, _, err := n.start(t)
	check(t, err)
	for _, d := range []*Driver{d, next} {
		if list := d.List().Volumes; len(list) != 1 || !strings.Contains(list[0].LastError, "the earlier driver") || d.VolumesHidden() != 1 {
			t.Errorf("%d are hidden, the list is %+v", d.VolumesHidden(), list)
		}
	}
	_, err = next.server.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: testVolume, TargetPath: n.target})
	check(t, err)
	if _, err := os.Lstat(n.target); !os.IsNotExist(err) || next.VolumesHidden() != 0 {
		t.Errorf("left behind: %v, %d hidden", err, next.VolumesHidden())
	}
}
