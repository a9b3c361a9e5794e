// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// confused are calls of a kubelet that takes one volume for another, and the code
// that they are refused with. All of them are about the volume of a live pod.
func (w *world) confused(live *corev1.Pod, target string) map[string]struct {
	call func() error
	code codes.Code
} {
	publish := func(pod *corev1.Pod, id, at string) func() error {
		request, err := w.kubelet.PublishRequest(w.t.Context(), pod, testkit.VolumeName)
		w.check(err)
		request.VolumeId, request.TargetPath = id, at
		return func() error {
			_, err := w.kubelet.Node.NodePublishVolume(w.t.Context(), request)
			return err
		}
	}
	unpublish := func(id, at string) func() error {
		return func() error {
			_, err := w.kubelet.Node.NodeUnpublishVolume(w.t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: at})
			return err
		}
	}
	idOf := func(pod *corev1.Pod) string { return testkit.VolumeID(pod, testkit.VolumeName) }
	folder := filepath.Join(w.kubeletRoot(), "pods", string(live.UID))
	secret := filepath.Join(folder, "volumes", "kubernetes.io~secret", "x")
	other, waiting := w.pod("other"), w.pod("waiting")
	w.publish(other)
	return map[string]struct {
		call func() error
		code codes.Code
	}{
		"publish for another pod":                              {publish(waiting, idOf(waiting), target), codes.InvalidArgument},
		"publish for another pod that is live":                 {publish(other, idOf(other), target), codes.InvalidArgument},
		"publish for another pod, over the folder of this one": {publish(waiting, idOf(waiting), folder), codes.InvalidArgument},
		"publish for another pod, over a Secret of this one":   {publish(waiting, idOf(waiting), secret), codes.InvalidArgument},
		"publish of another volume of the pod":                 {publish(live, "csi-second", target), codes.FailedPrecondition},
		"publish over a Secret of the pod":                     {publish(live, idOf(live), secret), codes.InvalidArgument},
		"unpublish of a volume that never was":                 {unpublish("never-published", target), codes.FailedPrecondition},
		"unpublish of another volume":                          {unpublish(idOf(other), target), codes.FailedPrecondition},
		"unpublish of a Secret":                                {unpublish("never-published", secret), codes.InvalidArgument},
		"unpublish of the volume at a Secret":                  {unpublish(idOf(live), secret), codes.InvalidArgument},
	}
}

// A kubelet that is confused does not reach what is of other pods, or of others than
// the driver; nor does it after the driver was started anew.
func TestConfusedKubelet(t *testing.T) {
	w := prepare(t)
	w.startApprover()
	stop := w.startDriver()
	live := w.pod("live")
	target := w.publish(live)
	key := w.readSVID(target)
	secret := filepath.Join(w.kubeletRoot(), "pods", string(live.UID), "volumes", "kubernetes.io~secret", "x")
	w.t.Cleanup(func() { _ = volume.Unmount(secret) })
	w.check(os.MkdirAll(secret, 0o750))
	w.check(unix.Mount("secret", secret, "tmpfs", 0, ""))
	calls := w.confused(live, target)
	for range 2 {
		for name, test := range calls {
			before := w.tree()
			w.requireShortRefusal(name, test.call(), test.code)
			if after := w.tree(); after != before {
				t.Errorf("%s: before\n%s\nafter\n%s", name, before, after)
			}
			if !sameKey(w.readSVID(target).PrivateKey.Public(), key.PrivateKey.Public()) || w.mounts(target) != 1 || w.mounts(secret) != 1 {
				t.Errorf("%s: the volume of the pod is another, or gone", name)
			}
		}
		stop()
		stop = w.startDriver()
	}
	w.check(w.kubelet.Unpublish(t.Context(), live, testkit.VolumeName))
	if _, err := os.Lstat(target); !os.IsNotExist(err) {
		t.Errorf("the volume is left: %v", err)
	}
	w.publish(live) // it is nobody's now
}

// Pods of an earlier driver must be able to end: what that has mounted goes with an
// ID that this driver has never heard of.
func TestUnpublishOfAVolumeOfAnotherDriver(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	w.mountForeign(pod)
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}
