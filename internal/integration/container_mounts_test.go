// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/testkit"
)

// requireReadOnly fails the test unless the host has the volume read-only, and whoever
// got it from there.
func (w *world) requireReadOnly(target, inPod string) {
	w.t.Helper()
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != target, false })
	w.check(err)
	if len(mounts) == 0 {
		w.t.Fatal("the host has no mount at the target")
	}
	// The table lists mounts in the order in which they were made.
	top := strings.Split(mounts[len(mounts)-1].Options, ",")
	for _, option := range []string{"ro", "nosuid", "nodev", "noexec"} {
		if !slices.Contains(top, option) {
			w.t.Errorf("the host has it with %q, without %s", top, option)
		}
	}
	if err := os.WriteFile(filepath.Join(inPod, "new"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		w.t.Errorf("a write in the pod: %v, want %v", err, unix.EROFS)
	}
}

// endWell kills the container, and fails the test if its driver did not find volumes of an
// earlier one as they should be.
func (c *container) endWell() {
	c.world.t.Helper()
	c.kill() // after which all of its log is there
	for _, words := range []string{"is not mounted", "mounted again"} {
		if strings.Contains(c.log.String(), words) {
			c.world.t.Errorf("a volume that is well %s: %s", words, c.log)
		}
	}
}

// Earlier versions made mounts read-only in their own container alone. They are
// covered by one that is so for all, once, and keep their documents.
func TestMountOfAnEarlierVersionIsMadeReadOnly(t *testing.T) {
	w := prepare(t)
	w.makeHost("run/csi-driver-spiffe")
	bin := w.buildDriver()
	w.startApprover()
	start := func() *container {
		return w.startContainer(bin, "shared", w.hostDir("kubelet"), w.hostDir("run"), w.hostDir("etc"), w.hostDir("bin"))
	}
	c := start()
	pod := w.pod("web-0")
	target := w.publish(pod)
	before := w.generation(target)
	w.check(unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
	c.kill()
	for round := range 3 {
		c = start()
		w.publish(pod)
		w.requireReadOnly(target, w.bindIntoPod(target))
		if n := w.mounts(target); n != 2 {
			t.Errorf("start %d: %d mounts, want 2", round+1, n)
		}
		if round > 0 {
			c.endWell()
			continue
		}
		c.kill()
		if !strings.Contains(c.log.String(), "is not mounted read-only") || !strings.Contains(c.log.String(), "mounted again") {
			t.Errorf("the first says nothing of it: %s", c.log)
		}
	}
	start()
	if w.generation(target) != before || len(w.requests()) != 1 {
		t.Error("the volume got a new document")
	}
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}
