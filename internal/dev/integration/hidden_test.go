// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// This driver takes the place of another of the same name: the kubelet publishes
// a volume that the other has mounted. The pod that runs sees that one, and people
// are told to delete the pod; the one in its place sees the driver's.
func TestVolumeOfAnotherDriverIsToldOf(t *testing.T) {
	w := prepare(t)
	var mu sync.Mutex
	var events []string
	w.event = func(_ bool, reason, note string) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, reason+": "+note)
	}
	w.startApprover()
	stop := w.startDriver()
	pod := w.pod("web-0")
	target := w.kubelet.TargetPath(pod, testkit.VolumeName)
	t.Cleanup(func() { _ = volume.Unmount(target) })
	w.check(os.MkdirAll(target, 0o750))
	w.check(unix.Mount("the earlier driver", target, "tmpfs", 0, ""))
	inPod := w.openFolder(target) // as a running container holds it

	w.publish(pod)
	w.publish(pod)
	w.readSVID(target)
	if names, err := inPod.Readdirnames(-1); err != nil || len(names) != 0 {
		t.Errorf("the pod sees %q, %v, want the other driver's folder", names, err)
	}
	mu.Lock()
	if all := strings.Join(events, "\n"); len(events) != 1 || !strings.Contains(all, "VolumeHidden") ||
		!strings.Contains(all, w.workload.Namespace+"/web-0") || !strings.Contains(all, "the earlier driver") {
		t.Errorf("the Events are %q", all)
	}
	mu.Unlock()
	told := func() bool { return strings.Contains(w.list()["web-0"].LastError, "delete the pod") }
	if !told() || w.driver.VolumesHidden() != 1 {
		t.Errorf("the list has %+v, %d are hidden", w.list()["web-0"], w.driver.VolumesHidden())
	}
	troubleshooting.Row("containers that were started before see what was mounted there first (…), which nobody renews").Seen(t, w.list()["web-0"].LastError)
	stop()
	w.startDriver()
	if !told() {
		t.Error("the next process does not tell")
	}

	w.check(inPod.Close())
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
	w.publish(w.pod("web-1"))
	if v := w.list()["web-1"]; v.LastError != "" || w.driver.VolumesHidden() != 0 {
		t.Errorf("after that the list has %+v, %d are hidden", v, w.driver.VolumesHidden())
	}
}

func (w *world) openFolder(path string) *os.File {
	w.t.Helper()
	folder, err := os.Open(path)
	w.check(err)
	w.t.Cleanup(func() { _ = folder.Close() })
	return folder
}
