// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// mounts counts what is mounted at a path.
func (w *world) mounts(path string) int {
	w.t.Helper()
	all, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != path, false })
	w.check(err)
	return len(all)
}

// A kubelet that is restarted may do both at the same time. Whatever comes of it
// is whole: the volume is there, once, or nothing of it is.
func TestPublishAndUnpublishAtTheSameTime(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
	w.check(err)
	target := request.GetTargetPath()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() {
				switch _, err := w.kubelet.Node.NodePublishVolume(t.Context(), request); status.Code(err) {
				case codes.OK, codes.Aborted, codes.Canceled: // both mean the same to the kubelet: ask again
				default:
					t.Errorf("publish: %v", err)
				}
			})
			calls.Go(func() {
				if err := w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName); err != nil {
					t.Errorf("unpublish: %v", err)
				}
			})
		}
		calls.Wait()
		if _, err := os.Lstat(target); err == nil {
			w.readSVID(target)
			if n := w.mounts(target); n != 1 {
				t.Errorf("mounted %d times", n)
			}
		} else {
			w.requireNothingLeft(pod)
		}
	}
	w.publish(pod)
	w.readSVID(target)
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
	w.eventually("no request is left", func() bool { return len(w.requests()) == 0 })
}

// The CSI spec asks for success where there is nothing to do.
func TestUnpublishOfWhatIsNotThere(t *testing.T) {
	w := newWorld(t)
	kept := w.pod("kept")
	keptTarget := w.publish(kept)
	pod := w.pod("web-0")
	target := w.kubelet.TargetPath(pod, testkit.VolumeName)
	unpublish := func() {
		t.Helper()
		w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	}
	unpublish() // never published, and no folder of the pod
	w.check(os.MkdirAll(target, 0o750))
	unpublish() // an empty folder, as a kubelet leaves behind
	w.requireNothingLeft(pod)

	w.publish(pod)
	unpublish()
	unpublish() // gone already
	w.requireNothingLeft(pod)

	w.publish(pod)
	w.check(os.RemoveAll(filepath.Join(w.config.Volume.TmpfsPath, testkit.VolumeID(pod, testkit.VolumeName))))
	unpublish() // somebody has removed the files
	w.requireNothingLeft(pod)

	w.check(os.WriteFile(target, []byte("precious"), 0o600))
	unpublish() // a file, which is not the driver's
	if data, err := os.ReadFile(target); err != nil || string(data) != "precious" {
		t.Errorf("the file at the target path is %q, %v", data, err)
	}
	w.readSVID(keptTarget)
}

// A StatefulSet's pod is gone and comes again; the ID of its volume does not, but
// may in other ways.
func TestPublishAfterUnpublishOfTheSameID(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	first := w.readSVID(w.publish(pod))
	for range 3 {
		w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
		next := w.readSVID(w.publish(pod))
		if sameKey(first.PrivateKey.Public(), next.PrivateKey.Public()) || first.Certificates[0].Equal(next.Certificates[0]) {
			t.Error("a destroyed document has come again")
		}
		first = next
	}
	w.eventually("the earlier requests are deleted", func() bool { return len(w.requests()) == 1 })
}

// What may be at the target path when the kubelet asks for the volume.
func TestTargetPath(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		prepare func(request *csi.NodePublishVolumeRequest)
		code    codes.Code
		message string
	}{
		"is not there": {func(*csi.NodePublishVolumeRequest) {}, codes.OK, ""},
		"its parents are not there": {func(r *csi.NodePublishVolumeRequest) {
			w.check(os.RemoveAll(filepath.Dir(filepath.Dir(r.GetTargetPath()))))
		}, codes.OK, ""},
		"is an empty folder": {func(r *csi.NodePublishVolumeRequest) { w.check(os.Mkdir(r.GetTargetPath(), 0o750)) }, codes.OK, ""},
		"has spaces and more": {func(r *csi.NodePublishVolumeRequest) {
			r.TargetPath = filepath.Join(filepath.Dir(r.GetTargetPath()), `with space \040 "and" käse`)
		}, codes.OK, ""},
		"is a file": {func(r *csi.NodePublishVolumeRequest) {
			w.check(os.WriteFile(r.GetTargetPath(), []byte("precious"), 0o600))
		}, codes.FailedPrecondition, `"mount" is no folder: remove it`},
		"is a link": {func(r *csi.NodePublishVolumeRequest) {
			w.check(os.Symlink(w.dir, r.GetTargetPath()))
		}, codes.InvalidArgument, `"mount" in it is a symbolic link`},
	} {
		t.Run(name, func(t *testing.T) {
			pod := w.pod(testkit.UniqueName("pod"))
			request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
			w.check(err)
			test.prepare(request)
			_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
			if status.Code(err) != test.code || !strings.Contains(status.Convert(err).Message(), test.message) {
				t.Fatalf("got %v, want %s, %q", err, test.code, test.message)
			}
			if test.code != codes.OK {
				if data, err := os.ReadFile(request.GetTargetPath()); name == "is a file" && (err != nil || string(data) != "precious") {
					t.Errorf("the file is %q, %v", data, err)
				}
				for _, request := range w.requests() {
					if strings.HasPrefix(request.Name, pod.Name) {
						t.Errorf("%s was requested", request.Name)
					}
				}
				return
			}
			w.readSVID(request.GetTargetPath())
			_, err = w.kubelet.Node.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{
				VolumeId: request.GetVolumeId(), TargetPath: request.GetTargetPath(),
			})
			w.check(err)
			if _, err := os.Lstat(request.GetTargetPath()); !os.IsNotExist(err) {
				t.Errorf("after unpublish: %v, want it gone", err)
			}
		})
	}
}

// Somebody has removed the folder of a volume under its mount. What is mounted is
// empty then, and nothing can be mounted over it.
func TestTargetPathWithADanglingMount(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	target := w.publish(pod)
	w.check(os.RemoveAll(filepath.Join(w.config.Volume.TmpfsPath, testkit.VolumeID(pod, testkit.VolumeName))))
	if _, err := os.Stat(filepath.Join(target, "tls.crt")); err == nil {
		t.Fatal("the mount does not dangle")
	}
	w.publish(pod)
	w.readSVID(target)
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}
