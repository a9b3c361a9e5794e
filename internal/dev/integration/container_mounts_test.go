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

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
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

// Earlier versions made mounts read-only in their own container alone. Each container
// makes them so in its own, once, and they are renewed as ever.
func TestMountOfAnEarlierVersionIsTakenOver(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 9s}" })
	w.makeHost("run/csi-driver-spiffe")
	bin := w.buildDriver()
	w.startApprover()
	start := func() *container {
		return w.startContainer(bin, "shared", w.hostDir("kubelet"), w.hostDir("run"), w.hostDir("etc"), w.hostDir("bin"))
	}
	c := start()
	pod := w.pod("web-0")
	target := w.publish(pod)
	w.check(volume.Unmount(target))
	w.check(os.MkdirAll(target, 0o750))
	w.check(unix.Mount(filepath.Join(w.volumeDir(pod), "data"), target, "", unix.MS_BIND, "")) // as they made it, for the host
	c.kill()
	for round := range 2 {
		c = start()
		before := w.generation(w.publish(pod))
		w.eventually("the volume is renewed", func() bool { return w.generation(w.publish(pod)) != before })
		w.readSVID(target)
		if n := w.mounts(target); n != 1 {
			t.Errorf("start %d: %d mounts, want 1", round+1, n)
		}
		c.kill()
		if !strings.Contains(c.log.String(), "is not mounted read-only") || strings.Count(c.log.String(), "mounted again") != 1 {
			t.Errorf("start %d: it is not told of, and mounted again once: %s", round+1, c.log)
		}
	}
	start()
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireNothingLeft(pod)
}
