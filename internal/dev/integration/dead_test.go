// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume/volumetest"
)

// mountDead mounts at the target of a pod a file system whose daemon is gone, as
// another driver may leave it.
func (w *world) mountDead(pod *corev1.Pod) (target string) {
	w.t.Helper()
	target = w.kubelet.TargetPath(pod, testkit.VolumeName)
	w.t.Cleanup(func() { _ = volume.Unmount(target) })
	volumetest.MountDead(w.t, target)
	return target
}

// It keeps no pod from ending: what cannot be looked at can be unmounted.
func TestUnpublishOfADeadMount(t *testing.T) {
	w := newWorld(t)
	for name, published := range map[string]bool{"never-published": false, "published": true} {
		pod := w.pod(name)
		if published {
			w.publish(pod)
		}
		w.mountDead(pod)
		w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
		w.requireNothingLeft(pod)
	}
}

// Nor from its volume.
func TestPublishOverADeadMount(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	target := w.mountDead(pod)
	w.publish(pod)
	w.readSVID(target)
	if n := w.mounts(target); n != 1 {
		t.Errorf("%d mounts, want 1", n)
	}
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}

// Over a volume that is live it goes, and the volume keeps its document, also after a
// restart of the driver.
func TestLiveVolumeBeneathADeadMount(t *testing.T) {
	w := prepare(t)
	w.startApprover()
	stop := w.startDriver()
	pod := w.pod("web-0")
	target := w.publish(pod)
	before := w.generation(target)
	for _, restarted := range []bool{false, true} {
		w.mountDead(pod)
		if restarted {
			stop()
			w.startDriver()
		}
		w.publish(pod)
		w.readSVID(target)
		if n := w.mounts(target); n != 1 || w.generation(target) != before {
			t.Errorf("%d mounts, want 1; the document was %s and is %s", n, before, w.generation(target))
		}
	}
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}
