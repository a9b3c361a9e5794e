// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
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
			t.Error("a destroyed SVID has come again")
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

// csiSanity is the program of the Kubernetes CSI project, pinned in
// internal/dev/tools/csi-sanity.
const csiSanity = repository + "/bin/tools/csi-sanity"

// notApplicable are the specs of csi-sanity that are not for a driver of
// ephemeral volumes on one node, by words of their names, with the reasons.
var notApplicable = map[string]string{
	"[Controller Server]": "the driver has no controller service: its volumes are inline, and nobody creates, attaches or lists them",
	"[GroupController":    "the driver has no group controller service: there are no snapshots of identities",

	"Node Service should work":                                     inline,
	"Node Service should be idempotent":                            inline,
	"Node Service NodeUnpublishVolume should remove target path":   inline,
	"Node Service NodePublishVolume with single node multi writer": "the driver has no SINGLE_NODE_MULTI_WRITER: nobody writes to its volumes",
	"Node Service NodeStageVolume":                                 "the driver has no STAGE_UNSTAGE_VOLUME: there is no device to prepare",
	"Node Service NodeUnstageVolume":                               "the driver has no STAGE_UNSTAGE_VOLUME: there is no device to prepare",
	"Node Service NodeGetVolumeStats":                              "the driver has no GET_VOLUME_STATS: a volume is a few small files",
	"Node Service NodeExpandVolume":                                "the driver has no EXPAND_VOLUME: a volume has no size",
	"Node Service NodeGetVolumeHealth":                             "the driver does not tell of a volume's health: it mends volumes when the kubelet calls again",
	"Node Service NodeGetStorageHealth":                            "the driver has no storage behind it",
}

// inline is of specs that publish what the controller of a driver has created,
// and to be written to. The other tests here publish volumes as they are.
const inline = "needs a volume of a controller; TestUnpublishDestroysEverything, TestPublishAgainChangesNothing and others do the same with inline ones"

// leastPassed is how many specs are for this driver: those of the identity
// service, and of the node service that need no volume.
const leastPassed = 10

// spec is what csi-sanity reports of one.
type spec struct {
	ContainerHierarchyTexts []string
	LeafNodeText            string
	State                   string
	Failure                 struct{ Message string }
}

func (s spec) name() string {
	return strings.Join(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), " ")
}

// TestCSISanity has csi-sanity call the driver on its socket.
func TestCSISanity(t *testing.T) {
	if _, err := os.Stat(csiSanity); err != nil {
		t.Skip("needs csi-sanity: run `make test`, or `make bin/tools/csi-sanity`")
	}
	w := newWorld(t)
	used := map[string]bool{}
	passed := 0
	for _, spec := range w.runCSISanity() {
		switch reason := whySkipped(spec.name(), used); {
		case spec.State == "passed":
			passed++
		case spec.State != "skipped" && spec.State != "pending": // pending is what csi-sanity itself does not run yet
			t.Errorf("%s: %s: %s", spec.State, spec.name(), spec.Failure.Message)
		case reason == "":
			t.Errorf("%s for no reason that is known: %s: %s", spec.State, spec.name(), spec.Failure.Message)
		}
	}
	for words := range notApplicable {
		if !used[words] {
			t.Errorf("no spec has %q in its name: take it off the list", words)
		}
	}
	if passed < leastPassed {
		t.Errorf("%d specs passed, want %d at least", passed, leastPassed)
	}
	t.Logf("%d specs passed", passed)
}

func whySkipped(name string, used map[string]bool) (reason string) {
	for words, why := range notApplicable {
		if strings.Contains(name, words) {
			used[words] = true
			reason = why
		}
	}
	return reason
}

// runCSISanity runs the specs that are applicable, and returns all that there
// are.
func (w *world) runCSISanity() []spec {
	w.t.Helper()
	// It makes the folder in which its target path is.
	volumes := filepath.Join(w.kubeletRoot(), "pods", "csi-sanity", "volumes", "kubernetes.io~csi")
	w.check(os.MkdirAll(volumes, 0o750))
	report := filepath.Join(w.dir, "csi-sanity.json")
	args := []string{
		"--csi.endpoint", w.socket, "--csi.mountdir", filepath.Join(volumes, testkit.VolumeName), "--csi.stagingdir", filepath.Join(w.dir, "staging"),
		"--ginkgo.json-report", report, "--ginkgo.no-color",
	}
	for words := range notApplicable {
		args = append(args, "--ginkgo.skip", regexp.QuoteMeta(words))
	}
	output, err := exec.CommandContext(w.t.Context(), csiSanity, args...).CombinedOutput()
	if err != nil {
		w.t.Errorf("csi-sanity: %v\n%s", err, output)
	}
	data, err := os.ReadFile(report)
	w.check(err)
	var suites []struct{ SpecReports []spec }
	w.check(json.Unmarshal(data, &suites))
	if len(suites) != 1 {
		w.t.Fatalf("%d suites in the report of csi-sanity", len(suites))
	}
	return slices.DeleteFunc(suites[0].SpecReports, func(s spec) bool { return s.LeafNodeText == "" })
}
