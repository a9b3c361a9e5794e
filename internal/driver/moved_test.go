// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// publishAt is a call of the kubelet at a target, with no time to ask an API server.
func publishAt(t *testing.T, d *Driver, target string) error {
	t.Helper()
	request := goodRequest()
	request.TargetPath = target
	ctx, cancel := context.WithTimeout(t.Context(), replyMargin+time.Second)
	defer cancel()
	_, err := d.server.NodePublishVolume(ctx, request)
	return err
}

// A damaged volume that cannot be healed at another target stays whole at the first.
func TestDamagedVolumeKeepsWhatIsMountedElsewhere(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.publish(t, time.Now(), time.Now().Add(time.Hour))
	check(t, os.Truncate(filepath.Join(n.store.Root(), testVolume, "metadata.json"), 20))
	d, _, err := n.start(t)
	check(t, err)
	if err := publishAt(t, d, filepath.Join(filepath.Dir(n.target), "elsewhere")); err == nil {
		t.Error("published without an API server")
	}
	if _, err := os.Stat(filepath.Join(n.target, "tls.crt")); err != nil {
		t.Errorf("what the pod has: %v", err)
	}
}

// A volume that the kubelet has at another target now is unpublished at both.
func TestUnpublishTakesAVolumeAwayWhereverItIs(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.publish(t, time.Now(), time.Now().Add(time.Hour))
	d, _, err := n.start(t)
	check(t, err)
	moved := filepath.Join(filepath.Dir(n.target), "moved")
	check(t, publishAt(t, d, moved))
	_, err = d.server.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: testVolume, TargetPath: moved})
	check(t, err)
	for _, target := range []string{n.target, moved} {
		if mounted, err := mountinfo.Mounted(target); mounted || err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is mounted: %t, %v", target, mounted, err)
		}
	}
}

// A volume of which nothing is kept but a request is in its pod all the same.
func TestVolumeWithoutMetadataIsDamagedThoughARequestIsUnderWay(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.publish(t, time.Now(), time.Now().Add(time.Hour))
	n.leavePending(t, newTestDriver(t, nil))
	check(t, os.Remove(filepath.Join(n.store.Root(), testVolume, "metadata.json")))
	d, _, err := n.start(t)
	check(t, err)
	if list := d.List().Volumes; len(list) != 1 || list[0].State != listing.Damaged || list[0].TargetPath != n.target {
		t.Errorf("the list says %+v", list)
	}
	if _, due := d.schedule.Due(testVolume); !due {
		t.Error("its request is never given up")
	}
}

// What was wrong with a volume is forgotten when it is found well.
func TestDamageIsForgottenWhenThereIsNone(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.publish(t, time.Now(), time.Now().Add(time.Hour))
	d, _, err := n.start(t)
	check(t, err)
	state := d.volumes.acquire(testVolume)
	defer d.volumes.release(state)
	d.noteDamage(d.config.Current(), state, observe.Damage{Target: n.target}, errors.New("it was"))
	check(t, publishAt(t, d, n.target))
	if list := d.List().Volumes; len(list) != 1 || list[0].State != listing.Published {
		t.Errorf("the list says %+v", list)
	}
}

// Whoever is late in dropping a request does not take the next one with it.
func TestTheNextPendingRequestStays(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	pending := n.leavePending(t, newTestDriver(t, nil))
	d, _, err := n.start(t)
	check(t, err)
	state := d.volumes.acquire(testVolume)
	defer d.volumes.release(state)
	d.dropPending(state, types.NamespacedName{Namespace: "sandbox", Name: "the-one-before"})
	if _, err := d.readPending(testVolume); err != nil {
		t.Errorf("the request that is under way: %v", err)
	}
	d.dropPending(state, pending.Request)
	if _, err := d.readPending(testVolume); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("when it is dropped itself: got %v, want %v", err, volume.ErrNotFound)
	}
}
