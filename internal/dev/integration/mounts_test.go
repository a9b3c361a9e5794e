// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume/volumetest"
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
	w.requireDamaged(pod, "a quota")
	request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
	w.check(err)
	delete(request.VolumeContext, tokensKey)
	_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
	w.check(err)
	w.requireForeign(target)
	w.requireDamaged(pod, "no ServiceAccount token")

	proxy.Inject(nil)
	w.eventually("the volume has an SVID", func() bool { w.publish(pod); return w.mounts(target) == 2 })
	w.readSVID(target)
	if v := w.list()["web-0"]; v.State != listing.Published || w.damaged() != 0 {
		t.Errorf("after that the list has %+v, %d are damaged", v, w.damaged())
	}
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}

// A tmpfs that the driver does not see any more, as after volume.tmpfsPath has
// changed, is held by the pods that have volumes in it: their SVIDs are whole.
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
			t.Errorf("the SVID was %s and is %s", before, after)
		}
		svid := w.readSVID(target)
		w.requireDamaged(pod, "has not answered")
		if v := w.list()["web-0"]; v.SPIFFEID != svid.ID.String() || !v.Expires.Equal(svid.Certificates[0].NotAfter) {
			t.Errorf("the list has %+v, want what the pod has", v)
		}
	}
	proxy.Inject(nil)
	w.eventually("the volume has a new SVID", func() bool { w.publish(pod); return w.generation(target) != before })
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

// damaged is how many volumes the driver counts as damaged.
func (w *world) damaged() (count int) {
	for _, v := range w.driver.List().Volumes {
		if v.State == listing.Damaged {
			count++
		}
	}
	return count
}

// requireDamaged fails the test unless the volume of a pod is the only one that the
// driver tells of as damaged, with what keeps it from being healed.
func (w *world) requireDamaged(pod *corev1.Pod, why string) {
	w.t.Helper()
	v := w.list()[pod.Name]
	if v.State != listing.Damaged || v.PodUID != string(pod.UID) || v.PodNamespace != pod.Namespace || v.LastErrorTime.IsZero() ||
		v.TargetPath != w.kubelet.TargetPath(pod, testkit.VolumeName) || !strings.Contains(v.LastError, why) || w.damaged() != 1 {
		w.t.Errorf("the list has %+v, %d are damaged, want that of %s for %q", v, w.damaged(), pod.Name, why)
	}
}

// A volume that is damaged and cannot be healed stays in its pod, and somebody has to
// know: from when the driver has found it until it is healed, or gone.
func TestDamagedVolumeThatCannotBeHealedIsToldOf(t *testing.T) {
	for name, end := range map[string]func(w *world, pod *corev1.Pod){
		"healed": func(w *world, pod *corev1.Pod) {
			w.eventually("the volume is healed", func() bool {
				w.publish(pod)
				return w.list()[pod.Name].State == listing.Published
			})
		},
		"unpublished": func(w *world, pod *corev1.Pod) {
			w.check(w.kubelet.Unpublish(w.t.Context(), pod, testkit.VolumeName))
			w.requireNothingLeft(pod)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t, impatient)
			proxy := w.behindProxy()
			w.startApprover()
			stop := w.startDriver()
			pod := w.pod("web-0")
			svid := w.readSVID(w.publishSoon(pod))
			stop()
			w.check(os.Truncate(filepath.Join(w.volumeDir(pod), "metadata.json"), 5))
			proxy.Inject(testkit.OnCreate(faults()["403"].inject))
			w.startDriver()
			if v, ok := w.list()[""]; !ok || v.State != listing.Damaged || v.PodUID != string(pod.UID) || v.SPIFFEID != svid.ID.String() ||
				!strings.Contains(v.LastError, "metadata is damaged") || w.damaged() != 1 {
				t.Errorf("before the kubelet publishes, the list has %+v", v)
			}
			for range 2 {
				w.publish(pod)
				w.requireDamaged(pod, "a quota")
			}
			troubleshooting.Row("a damaged volume, or one of another driver, could not be given a new SVID… error=…").Seen(t, w.log.String())
			proxy.Inject(nil)
			end(w, pod)
			if w.damaged() != 0 {
				t.Errorf("after that %d are damaged", w.damaged())
			}
		})
	}
}

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
	if !told() || w.driver.VolumesShadowed() != 1 {
		t.Errorf("the list has %+v, %d are hidden", w.list()["web-0"], w.driver.VolumesShadowed())
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
	if v := w.list()["web-1"]; v.LastError != "" || w.driver.VolumesShadowed() != 0 {
		t.Errorf("after that the list has %+v, %d are hidden", v, w.driver.VolumesShadowed())
	}
}

func (w *world) openFolder(path string) *os.File {
	w.t.Helper()
	folder, err := os.Open(path)
	w.check(err)
	w.t.Cleanup(func() { _ = folder.Close() })
	return folder
}

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

// Over a volume that is live it goes, and the volume keeps its SVID, also after a
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
			t.Errorf("%d mounts, want 1; the SVID was %s and is %s", n, before, w.generation(target))
		}
	}
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}
