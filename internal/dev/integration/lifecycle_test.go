// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
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
		t.Error("the restarted driver asked for a document that was not due")
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
		t.Error("the files were written without a new document")
	}
	w.check(w.bindRole())
	w.eventually("the volume has a new document", func() bool {
		w.publish(pod)
		return w.generation(target) != before
	})
	w.readSVID(target)
}
