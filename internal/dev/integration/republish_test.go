// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/fsnotify/fsnotify"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

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
