// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// A volume whose mount is not read-only yet, as an earlier version has left it, is at its
// target all the same.
func TestVolumeThatIsNotReadOnlyHasItsTarget(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.publish(t, time.Now(), time.Now().Add(time.Hour))
	check(t, unix.Mount("", n.target, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	d, log, err := n.start(t)
	check(t, err)
	if by := d.targets.Volume(n.target); by != testVolume {
		t.Errorf("at the target is %q", by)
	}
	if !strings.Contains(log.String(), "is not mounted read-only") {
		t.Errorf("the log says %s", log)
	}
}

// Metadata that were copied from one volume to another say that both are at the same
// target. The one that is not there is destroyed without taking the other's away.
func TestMetadataWithTheTargetOfAnotherVolume(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.publish(t, time.Now(), time.Now().Add(time.Hour))
	const id = "csi-copy"
	check(t, n.store.Write(id, svidFiles(t, time.Now(), time.Now().Add(time.Hour)), n.metadata()))
	own := filepath.Join(filepath.Dir(n.target), "own")
	check(t, n.store.Mount(id, own))
	t.Cleanup(func() { check(t, volume.Unmount(own)) })
	d, _, err := n.start(t)
	check(t, err)
	if err := d.unpublish(t.Context(), id, n.target); !errors.Is(err, mounts.ErrOccupied) {
		t.Errorf("at the target of the other: got %v, want %v", err, mounts.ErrOccupied)
	}
	check(t, d.unpublish(t.Context(), id, own))
	if mounted, err := n.store.Mounted(testVolume, n.target); err != nil || !mounted {
		t.Errorf("the other volume is mounted: %t, %v", mounted, err)
	}
	if _, err := os.Lstat(own); !os.IsNotExist(err) {
		t.Errorf("its own target: %v", err)
	}
	check(t, d.unpublish(t.Context(), testVolume, n.target))
}
