// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/fsnotify/fsnotify"
	"google.golang.org/grpc/codes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// The kubelet publishes a volume of a running pod every minute or so.
func TestPublishAgainChangesNothing(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	target := w.publish(pod)
	before := w.generation(target)
	for range 20 {
		w.publish(pod)
	}
	if after := w.generation(target); after != before {
		t.Errorf("the files were written anew: %s, then %s", before, after)
	}
	w.onlyRequest()
}

func TestTwoPublishesAtOnceMakeOneRequest(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	var calls sync.WaitGroup
	for range 5 {
		calls.Go(func() {
			if _, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	w.onlyRequest()
}

func TestUnpublishDestroysEverything(t *testing.T) {
	w := newWorld(t)
	kept, pod := w.pod("kept"), w.pod("web-0")
	keptTarget, target := w.publish(kept), w.publish(pod)
	for range 2 { // the second time there is nothing left to do
		w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	}
	if _, err := os.Lstat(target); !os.IsNotExist(err) {
		t.Errorf("target path after unpublish: %v, want it gone", err)
	}
	if _, err := os.Lstat(filepath.Join(w.config.Volume.TmpfsPath, testkit.VolumeID(pod, testkit.VolumeName))); !os.IsNotExist(err) {
		t.Errorf("files of the volume after unpublish: %v, want them gone", err)
	}
	w.eventually("the requests of the volume are deleted", func() bool { return len(w.requests()) == 1 })
	w.readSVID(keptTarget)
}

func TestRenewal(t *testing.T) {
	w := newWorld(t, func(*world) string { return "certificate: {duration: 30s}" })
	target := w.publish(w.pod("web-0"))
	first := w.readSVID(target)
	second := first
	w.eventually("a new certificate", func() bool {
		second = w.readSVID(target)
		return !second.Certificates[0].Equal(first.Certificates[0])
	})
	// Signing takes a moment, on a busy machine more.
	lifetime := 30 * time.Second
	if after := second.Certificates[0].NotBefore.Sub(first.Certificates[0].NotBefore); after < lifetime/3 || after > lifetime {
		t.Errorf("renewed %s after its validity began, want from 1/3, for the first renewal is early, to 2/3 of %s", after, lifetime)
	}
	if sameKey(first.PrivateKey.Public(), second.PrivateKey.Public()) {
		t.Error("the key was used again")
	}
	if first.ID != second.ID {
		t.Errorf("SPIFFE ID %s became %s", first.ID, second.ID)
	}
	w.eventually("the earlier request is deleted", func() bool { return len(w.requests()) == 1 })
}

// A new process takes over what the one before it left.
func TestDriverRestart(t *testing.T) {
	// Not due before 15 s, in which the driver is started anew on any machine.
	w := prepare(t, func(*world) string { return "certificate: {duration: 45s}" })
	w.startApprover()
	stop := w.startDriver()
	pod := w.pod("web-0")
	target := w.publish(pod)
	before := w.generation(target)
	stop()
	if w.generation(target) != before {
		t.Error("stopping the driver touched a live volume")
	}

	w.startDriver()
	w.publish(pod)
	if w.generation(target) != before {
		t.Error("the restarted driver asked for an SVID that was not due")
	}
	w.eventually("the restarted driver renews", func() bool { return w.generation(target) != before })
	w.readSVID(target)
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
}

func TestGroupOfTheFiles(t *testing.T) {
	group, standard, root := int64(4242), int64(777), int64(0)
	for name, test := range map[string]struct {
		defaultGroup *int64
		fsGroup      *int64
		attribute    string
		want         uint32
	}{
		"nothing given":                   {nil, nil, "", 0},
		"default of the configuration":    {&standard, nil, "", 777},
		"fsGroup of the pod over default": {&standard, &group, "", 4242},
		"attribute over fsGroup":          {nil, &group, "456", 456},
		"fsGroup 0 over default":          {&standard, &root, "", 0},
		"attribute 0 over fsGroup":        {&standard, &group, "0", 0},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.RequireGroup(t, uint64(test.want))
			w := newWorldWithDefaultGroup(t, test.defaultGroup)
			w.workload.FSGroup = test.fsGroup
			if test.attribute != "" {
				w.workload.Attributes = map[string]string{"spiffe.csi.cert-manager.io/fs-group": test.attribute}
			}
			target := w.publish(w.pod("web-0"))
			for _, name := range []string{".", "tls.crt", "tls.key"} {
				info, err := os.Stat(filepath.Join(target, name))
				w.check(err)
				if got := info.Sys().(*syscall.Stat_t).Gid; got != test.want {
					t.Errorf("%s belongs to group %d, want %d", name, got, test.want)
				}
			}
		})
	}
}

// A volume that is mounted, and of which the process knows nothing because its
// metadata is damaged, is healed; while that does not succeed it stays.
func TestDamagedVolumeIsHealed(t *testing.T) {
	w := prepare(t)
	w.startApprover()
	stop := w.startDriver()
	pod := w.pod("web-0")
	target := w.publish(pod)
	before := w.generation(target)
	stop()
	metadata := filepath.Join(w.config.Volume.TmpfsPath, testkit.VolumeID(pod, testkit.VolumeName), "metadata.json")
	w.check(os.WriteFile(metadata, []byte(`{"version":1,"targ`), 0o600))
	w.check(w.unbindRole())

	w.startDriver()
	w.publish(pod) // succeeds, for the pod has what it needs
	if w.generation(target) != before {
		t.Error("the files were written without a new SVID")
	}
	w.check(w.bindRole())
	w.eventually("the volume has a new SVID", func() bool {
		w.publish(pod)
		return w.generation(target) != before
	})
	w.readSVID(target)
}

// Older kubelets tear a volume down on an error: whatever is wrong with a
// request, a volume that has been published is not failed because of it.
func TestLiveVolumeIsNotFailed(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	target := w.publish(pod)
	before := w.generation(target)
	for name, test := range refusals() {
		request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
		w.check(err)
		test.change(request)
		if request.GetVolumeId() != testkit.VolumeID(pod, testkit.VolumeName) || request.GetTargetPath() != target {
			continue // it is about another volume
		}
		if _, err := w.kubelet.Node.NodePublishVolume(t.Context(), request); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.generation(target) != before {
		t.Error("the files were written anew")
	}
	w.publish(pod)
	w.readSVID(target)
}

// The SVID that was asked for with one pod's token goes to no other pod,
// even if that came with the same volume ID.
func TestRequestUnderWayIsNotForAnotherPod(t *testing.T) {
	w := prepare(t)
	impatient := *w.config
	impatient.Driver.PublishTimeout /= 20
	w.config = &impatient
	w.startDriver()
	first, second := w.pod("first"), w.pod("second")
	_, err := w.kubelet.Publish(t.Context(), first, testkit.VolumeName)
	w.requireRefusal(err, codes.DeadlineExceeded, "waiting for approval")

	w.startApprover()
	request, err := w.kubelet.PublishRequest(t.Context(), second, testkit.VolumeName)
	w.check(err)
	request.VolumeId = testkit.VolumeID(first, testkit.VolumeName)
	w.eventually("the second pod is published", func() bool {
		_, err := w.kubelet.Node.NodePublishVolume(t.Context(), request)
		return err == nil
	})
	w.eventually("only the request of the second pod is left", func() bool {
		requests := w.requests()
		return len(requests) == 1 && requests[0].OwnerReferences[0].UID == second.UID
	})
}

// A volume that is whole and not mounted is mounted, without a new request.
func TestUnmountedVolumeIsMountedAgain(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("web-0")
	target := w.publish(pod)
	before := w.generation(target)
	w.check(volume.Unmount(target))
	w.publish(pod)
	if w.generation(target) != before {
		t.Error("a new SVID was made")
	}
	w.onlyRequest()
}

// A pod knows its files by their names: a change of the names is for new pods.
func TestNamesOfFilesStayForTheLifeOfAVolume(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 9s}" })
	w.startApprover()
	stop := w.startDriver()
	pod := w.pod("web-0")
	target := w.publish(pod)
	before := w.generation(target)
	stop()
	renamed := *w.config
	renamed.Volume.Files.Certificate = "svid.pem"
	w.ofDriver.Set(&renamed)
	w.startDriver()
	w.publish(pod)
	w.eventually("a renewal", func() bool { return w.generation(target) != before })
	w.readSVID(target)
	if _, err := os.Stat(filepath.Join(w.publish(w.pod("web-1")), "svid.pem")); err != nil {
		t.Errorf("a new volume has not the new name: %v", err)
	}
}

func TestBundleThatTurnsBadStaysInVolumes(t *testing.T) {
	var bundle string
	w := newWorld(t, func(w *world) string {
		bundle = filepath.Join(w.dir, "bundle.pem")
		w.check(os.WriteFile(bundle, w.ca.CertificatePEM, 0o600))
		return "trustBundle: {path: " + bundle + "}"
	}, func(*world) string { return "certificate: {duration: 9s}" })
	target := w.publish(w.pod("web-0"))
	before := w.generation(target)
	w.check(os.WriteFile(bundle, w.ca.CertificatePEM[:100], 0o600))
	w.eventually("a renewal", func() bool { return w.generation(target) != before })
	got, err := os.ReadFile(filepath.Join(target, "ca.crt"))
	w.check(err)
	if !bytes.Equal(got, w.ca.CertificatePEM) {
		t.Errorf("ca.crt is %q, want the last good bundle", got)
	}
}

// The chain of an intermediate CA is delivered whole, leaf first, without the
// root.
func TestIntermediateIsInTheChain(t *testing.T) {
	w := prepare(t)
	intermediate, err := w.ca.NewIntermediate("intermediate")
	w.check(err)
	w.check(w.CreateClusterIssuer(t.Context(), w.issuer+"-sub", intermediate))
	w.installation, err = w.Install(t.Context(), repository, "-"+w.issuer, "clusterissuers.cert-manager.io/"+w.issuer+"-sub")
	w.check(err)
	w.config = w.changedConfig("issuerRef: {name: " + w.issuer + "-sub}")
	w.startApprover()
	w.startDriver()
	svid := w.readSVID(w.publish(w.pod("web-0")))
	if len(svid.Certificates) != 2 || svid.Certificates[1].Subject.CommonName != "intermediate" {
		t.Fatalf("%d certificates in the chain", len(svid.Certificates))
	}
	w.verify(svid)
}

// Tokens must not be logged, at any level, whether a publish succeeds, is
// refused here, or by the API server.
func TestTokensAreNotLogged(t *testing.T) {
	w := newWorld(t)
	request, err := w.kubelet.PublishRequest(t.Context(), w.pod("web-0"), testkit.VolumeName)
	w.check(err)
	// A JWT begins with ey, and its first 60 bytes tell.
	_, token, found := strings.Cut(request.GetVolumeContext()[tokensKey], `"ey`)
	if !found {
		t.Fatal("the kubelet sent no token")
	}
	token = token[:60]
	publish := func(change func(*csi.NodePublishVolumeRequest)) string {
		change(request)
		_, err := w.kubelet.Node.NodePublishVolume(t.Context(), request)
		if err != nil {
			return err.Error()
		}
		return ""
	}
	publish(func(r *csi.NodePublishVolumeRequest) { r.Readonly = false })
	w.check(w.unbindRole())
	refused := publish(func(r *csi.NodePublishVolumeRequest) { r.Readonly = true })
	w.check(w.bindRole())
	w.eventually("a publish", func() bool { return publish(func(*csi.NodePublishVolumeRequest) {}) == "" })
	logged := w.log.String()
	if !strings.Contains(logged, "published") || !strings.Contains(refused, "cannot create") {
		t.Fatalf("the test did not provoke what it should: %s\n%s", refused, logged)
	}
	if strings.Contains(logged, token) || strings.Contains(refused, token) {
		t.Error("the token is in the log or in an error")
	}
}

// fullVariable has tests that come in a shorter form take their whole time.
const fullVariable = "CSI_DRIVER_SPIFFE_TEST_FULL"

// republishing is how hard TestRepublishingDoesNothing tries.
func republishing() (volumes int, lasting time.Duration) {
	if os.Getenv(fullVariable) != "" {
		return 250, time.Minute
	}
	return 60, 10 * time.Second
}

// The kubelet publishes a volume again for as long as its pod runs. However often
// it does, nothing is asked of the API server and nothing is written.
func TestRepublishingDoesNothing(t *testing.T) {
	count, lasting := republishing()
	w := prepare(t)
	calls := w.countCalls()
	w.startApprover()
	w.startDriver()
	requests := w.publishMany(count)
	// What is done beside a publish must have ended.
	w.eventually("one request is left for each volume", func() bool { return len(w.requests()) == count })
	generations := w.generations(requests)
	writes := w.watchWrites(requests)
	before := calls.Load()

	published := w.republish(requests, 100*time.Millisecond, lasting)
	t.Logf("%d publishes of %d volumes in %s", published, count, lasting)
	if n := calls.Load() - before; n != 0 {
		t.Errorf("%d calls to the API server, want none", n)
	}
	if n := writes.Load(); n != 0 {
		t.Errorf("%d changes in the driver's files, want none", n)
	}
	for target, generation := range w.generations(requests) {
		if generations[target] != generation {
			t.Errorf("%s was written anew", target)
		}
	}
	if least := int64(count) * int64(lasting/time.Second); published < least {
		t.Errorf("only %d publishes, less than one a second for each volume", published)
	}
}

// countCalls counts the driver's calls to the API server, its pods' included.
func (w *world) countCalls() *atomic.Int64 {
	w.t.Helper()
	var calls atomic.Int64
	w.behindProxy().Inject(func(response http.ResponseWriter, request *http.Request, forward http.HandlerFunc) {
		calls.Add(1)
		forward(response, request)
	})
	return &calls
}

// publishMany publishes a volume for each of many pods, and returns the
// requests.
func (w *world) publishMany(count int) []*csi.NodePublishVolumeRequest {
	w.t.Helper()
	requests := make([]*csi.NodePublishVolumeRequest, count)
	var publishing sync.WaitGroup
	for i := range requests {
		request, err := w.kubelet.PublishRequest(w.t.Context(), w.pod(fmt.Sprintf("web-%d", i)), testkit.VolumeName)
		w.check(err)
		requests[i] = request
		publishing.Go(func() {
			if _, err := w.kubelet.Node.NodePublishVolume(w.t.Context(), request); err != nil {
				w.t.Errorf("pod %d: %v", i, err)
			}
		})
	}
	publishing.Wait()
	if w.t.Failed() {
		w.t.FailNow()
	}
	return requests
}

// republish sends each request again and again, and returns how often.
func (w *world) republish(requests []*csi.NodePublishVolumeRequest, every, lasting time.Duration) int64 {
	ctx, cancel := context.WithTimeout(w.t.Context(), lasting)
	defer cancel()
	var published atomic.Int64
	var kubelet sync.WaitGroup
	for _, request := range requests {
		kubelet.Go(func() {
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
				if _, err := w.kubelet.Node.NodePublishVolume(w.t.Context(), request); err != nil {
					w.t.Error(err)
					return
				}
				published.Add(1)
			}
		})
	}
	kubelet.Wait()
	return published.Load()
}

func (w *world) generations(requests []*csi.NodePublishVolumeRequest) map[string]string {
	w.t.Helper()
	generations := map[string]string{}
	for _, request := range requests {
		generations[request.GetTargetPath()] = w.generation(request.GetTargetPath())
	}
	return generations
}

// watchWrites counts what happens in the folders of volumes, and around their
// target paths.
func (w *world) watchWrites(requests []*csi.NodePublishVolumeRequest) *atomic.Int64 {
	w.t.Helper()
	watcher, err := fsnotify.NewWatcher()
	w.check(err)
	w.t.Cleanup(func() { w.check(watcher.Close()) })
	w.check(watcher.Add(w.config.Volume.TmpfsPath))
	for _, request := range requests {
		volume := filepath.Join(w.config.Volume.TmpfsPath, request.GetVolumeId())
		for _, folder := range []string{volume, filepath.Join(volume, "data"), filepath.Join(volume, "data", "..data"), filepath.Dir(request.GetTargetPath())} {
			w.check(watcher.Add(folder))
		}
	}
	var writes atomic.Int64
	go func() {
		for event := range watcher.Events {
			writes.Add(1)
			w.t.Logf("%s", event)
		}
	}()
	return &writes
}
