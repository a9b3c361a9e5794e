// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package torture

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
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

// String is a summary in a few lines.
func (r Report) String() string {
	text := fmt.Sprintf("%d kills at random moments and %d at %d named points, in %s\n", r.RandomKills, r.NamedKills, r.Points, r.Took.Round(time.Second))
	text += fmt.Sprintf("%d publishes, %d renewals, %d unpublishes; pairs read %d times\n", r.Published, r.Renewed, r.Unpublished, r.Reads)
	if r.Start > 0 {
		text += fmt.Sprintf("start to first answer: %s\n", r.Start.Round(time.Millisecond))
	}
	if len(r.Missed) > 0 {
		text += "not killed at: " + strings.Join(r.Missed, ", ") + "\n"
	}
	return text + fmt.Sprintf("faults: %d\n", len(r.Faults))
}
