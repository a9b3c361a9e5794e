// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package torture

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cminformers "github.com/cert-manager/cert-manager/pkg/client/informers/externalversions"
	"github.com/moby/sys/mountinfo"
	"k8s.io/client-go/tools/cache"
)

// checkAfterStart looks at everything while nobody calls the driver.
func (t *torture) checkAfterStart(context.Context) error {
	t.checking.Lock()
	defer t.checking.Unlock()
	mounted, err := t.mounts()
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, s := range t.volumes {
		s.mu.RLock()
		if s.request != nil {
			// Of one that is not published something may be there: the kubelet
			// is about to publish it, or to unpublish it once more.
			known[s.request.GetVolumeId()] = true
		}
		if s.published {
			if !mounted[s.request.GetTargetPath()] {
				t.fault("after a start: pod %s is not mounted", s.pod.Name)
			} else if pair, err := readPair(s.request.GetTargetPath()); err != nil {
				t.fault("after a start: pod %s: %v", s.pod.Name, err)
			} else if err := checkPair(pair); err != nil {
				t.fault("after a start: pod %s: %v", s.pod.Name, err)
			}
		}
		s.mu.RUnlock()
	}
	return t.checkDirectories(known)
}

func (t *torture) checkDirectories(known map[string]bool) error {
	entries, err := os.ReadDir(t.tmpfs())
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !known[entry.Name()] {
			t.fault("a directory without a pod: %s", entry.Name())
		}
	}
	return nil
}

// mounts are what is mounted for pods, and true if it is read-only.
func (t *torture) mounts() (map[string]bool, error) {
	under := t.kubeletRoot() + "/"
	found, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(m.Mountpoint, under), false
	})
	if err != nil {
		return nil, err
	}
	mounted := map[string]bool{}
	for _, m := range found {
		if _, twice := mounted[m.Mountpoint]; twice {
			t.fault("mounted twice: %s", m.Mountpoint)
		}
		mounted[m.Mountpoint] = strings.Contains(","+m.Options+",", ",ro,")
	}
	return mounted, nil
}

// timeForStrays is how long requests may stay that a killed driver has left.
const timeForStrays = 40 * time.Second

// endAll unpublishes everything and looks for what is left.
func (t *torture) endAll(ctx context.Context) error {
	for _, s := range t.volumes {
		if s.pod != nil {
			t.unpublishUntilDone(ctx, s)
		}
	}
	mounted, err := t.mounts()
	if err != nil {
		return err
	}
	for path := range mounted {
		t.fault("left mounted: %s", path)
	}
	if err := t.checkDirectories(nil); err != nil {
		return err
	}
	targets, err := filepath.Glob(filepath.Join(t.kubeletRoot(), "pods/*/volumes/*/*/mount"))
	if err != nil || len(targets) > 0 {
		t.fault("target paths left: %d, %v", len(targets), err)
	}
	for deadline := time.Now().Add(timeForStrays); t.requests.left() > 0; t.sleep(ctx, 50*time.Millisecond) {
		if time.Now().After(deadline) || ctx.Err() != nil {
			t.fault("%d CertificateRequests are left %s after the end", t.requests.left(), timeForStrays)
			break
		}
	}
	t.tell("nothing is published any more; %d faults", t.faultCount())
	return nil
}

// timeStart measures how long a driver takes to start with many volumes.
func (t *torture) timeStart(ctx context.Context) error {
	t.tell("publishing %d volumes, to time a start", t.StartVolumes)
	if err := t.driver.Stop(); err != nil {
		return err
	}
	if err := t.configure(time.Hour); err != nil {
		return err
	}
	if err := t.restartApprover(); err != nil {
		return err
	}
	if err := t.start(ctx, driverProgram); err != nil {
		return err
	}
	t.volumes = nil
	for number := range t.StartVolumes {
		s := &slot{number: number}
		if err := t.newPod(ctx, s); err != nil {
			return err
		}
		t.volumes = append(t.volumes, s)
		t.publishUntilDone(ctx, s)
	}
	if err := t.kill(); err != nil {
		return err
	}
	began := time.Now()
	if err := t.start(ctx, driverProgram); err != nil {
		return err
	}
	t.report.Start = time.Since(began)
	if t.report.Start > time.Second {
		t.fault("the start took %s with %d volumes", t.report.Start, t.StartVolumes)
	}
	return t.endAll(ctx)
}

// requests watches the CertificateRequests of all pods.
type requests struct {
	torture *torture

	mu sync.Mutex
	// open are the names of requests without an answer, by the UID of the pod.
	open map[string]map[string]bool
	// made are the times at which requests of a pod were made since it was
	// published.
	made map[string][]time.Time
	// all are the names of those that are there.
	all map[string]bool
}

func newRequests(t *torture) *requests {
	return &requests{torture: t, open: map[string]map[string]bool{}, made: map[string][]time.Time{}, all: map[string]bool{}}
}

func (r *requests) follow(ctx context.Context) error {
	factory := cminformers.NewSharedInformerFactoryWithOptions(r.torture.Cluster.CertManager, 0,
		cminformers.WithNamespace(r.torture.workload.Namespace))
	informer := factory.Certmanager().V1().CertificateRequests().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { r.see(obj, true, false) },
		UpdateFunc: func(_, obj any) { r.see(obj, false, false) },
		DeleteFunc: func(obj any) { r.see(obj, false, true) },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return context.Cause(ctx)
	}
	return nil
}

func (r *requests) see(obj any, made, deleted bool) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	request, ok := obj.(*cmapi.CertificateRequest)
	if !ok || len(request.OwnerReferences) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pod := string(request.OwnerReferences[0].UID)
	if made {
		r.note(request, pod)
	}
	if r.open[pod] == nil {
		r.open[pod] = map[string]bool{}
	}
	if deleted {
		delete(r.all, request.Name)
	}
	if deleted || isAnswered(request) {
		delete(r.open[pod], request.Name)
	} else {
		r.open[pod][request.Name] = true
	}
	if len(r.open[pod]) > 1 {
		r.torture.fault("pod %s has %d open requests", request.OwnerReferences[0].Name, len(r.open[pod]))
	}
}

// note asserts that a request is not one too many.
func (r *requests) note(request *cmapi.CertificateRequest, pod string) {
	r.all[request.Name] = true
	at := request.CreationTimestamp.Time
	if before := r.made[pod]; len(before) > 0 {
		if since := at.Sub(before[len(before)-1]); since < r.torture.firstRenewal() {
			r.torture.fault("pod %s: a request %s after the one before: %s", request.OwnerReferences[0].Name, since, request.Name)
		}
	}
	r.made[pod] = append(r.made[pod], at)
}

// firstRenewal is the least time between two requests of a volume, for the first
// renewals come early by up to a half, less a second for timestamps without
// fractions.
func (t *torture) firstRenewal() time.Duration { return t.Lifetime*33/100 - time.Second }

// forget is for a pod that was unpublished and may be published again.
func (r *requests) forget(pod string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.made, pod)
}

// left is how many requests there are.
func (r *requests) left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

func isAnswered(request *cmapi.CertificateRequest) bool {
	return len(request.Status.Certificate) > 0 || apiutil.CertificateRequestIsDenied(request) ||
		apiutil.CertificateRequestReadyReason(request) == cmapi.CertificateRequestReasonFailed
}
