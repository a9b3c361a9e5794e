// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// mountForeign mounts at the target of a pod what another driver would have.
func (w *world) mountForeign(pod *corev1.Pod) (target string) {
	w.t.Helper()
	target = w.kubelet.TargetPath(pod, testkit.VolumeName)
	w.t.Cleanup(func() { _ = volume.Unmount(target) })
	w.check(os.MkdirAll(target, 0o750))
	w.check(unix.Mount("the earlier driver", target, "tmpfs", 0, ""))
	w.check(os.WriteFile(filepath.Join(target, "tls.crt"), []byte("live"), 0o600))
	return target
}

// requireForeign fails the test if that is not there any more.
func (w *world) requireForeign(target string) {
	w.t.Helper()
	if data, err := os.ReadFile(filepath.Join(target, "tls.crt")); err != nil || string(data) != "live" || w.mounts(target) != 1 {
		w.t.Errorf("at the target there is %q, %v, want what was mounted there before", data, err)
	}
}

// A pod that runs may have a volume of another driver. Whatever becomes of a publish,
// that stays, and no kubelet is given a reason to tear it down.
func TestFailedPublishLeavesTheVolumeOfAnotherDriver(t *testing.T) {
	w := prepareImpatient(t)
	proxy := w.behindProxy()
	w.startApprover()
	w.startDriver()
	pod := w.pod("web-0")
	target := w.mountForeign(pod)
	proxy.Inject(testkit.OnCreate(faults()["403"].inject))
	for range 2 {
		w.publish(pod)
		w.requireForeign(target)
	}
	w.logged("it stays as it is")
	request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
	w.check(err)
	delete(request.VolumeContext, tokensKey)
	_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
	w.check(err)
	w.requireForeign(target)

	proxy.Inject(nil)
	w.eventually("the volume has a document", func() bool { w.publish(pod); return w.mounts(target) == 2 })
	w.readSVID(target)
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}

// A tmpfs that the driver does not see any more, as after volume.tmpfsPath has
// changed, is held by the pods that have volumes in it: their documents are whole.
func TestVolumeInATmpfsThatIsGoneStays(t *testing.T) {
	w := prepareImpatient(t)
	proxy := w.behindProxy()
	w.startApprover()
	stop := w.startDriver()
	pod := w.pod("web-0")
	target := w.publishSoon(pod)
	before := w.generation(target)
	stop()
	w.check(unix.Unmount(w.config.Volume.TmpfsPath, unix.MNT_DETACH))
	proxy.Away()
	w.startDriver()
	for range 2 {
		w.publish(pod)
		if after := w.generation(target); after != before {
			t.Errorf("the document was %s and is %s", before, after)
		}
		w.readSVID(target)
	}
	proxy.Inject(nil)
	w.eventually("the volume has a new document", func() bool { w.publish(pod); return w.generation(target) != before })
	w.readSVID(target)
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}

// A first publish that fails leaves the node as it was.
func TestFailedPublishLeavesTheFolder(t *testing.T) {
	w := prepareImpatient(t) // and nobody approves
	w.startDriver()
	for name, made := range map[string]bool{"not-there": false, "made-by-the-kubelet": true} {
		pod := w.pod(name)
		target := w.kubelet.TargetPath(pod, testkit.VolumeName)
		if made {
			w.check(os.MkdirAll(target, 0o750))
		}
		if _, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName); err == nil || !strings.Contains(err.Error(), "waiting for approval") {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := os.Lstat(target); (err == nil) != made {
			t.Errorf("%s: after that %v", name, err)
		}
	}
}
