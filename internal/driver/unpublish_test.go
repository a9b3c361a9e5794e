// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// liveVolume is a volume of an earlier process, with a token of its pod.
func liveVolume(t *testing.T, notAfter time.Duration) (node, *Driver, *volumeState, manager.Token) {
	t.Helper()
	n := newNode(t)
	n.publish(t, time.Now().Add(notAfter-time.Hour), time.Now().Add(notAfter))
	asAskedFor := n.metadata()
	asAskedFor.IdentityHash = testConfig(t).Policy().IdentityHash()
	check(t, n.store.WriteMetadata(testVolume, asAskedFor))
	d, _, err := n.start(t)
	check(t, err)
	request := goodPublish(t)
	state := d.volumes.acquire(testVolume)
	state.takeToken(request.Token)
	return n, d, state, request.Token
}

// A renewal that was about to begin when its volume was unpublished must not bring
// it back, with a new key.
func TestRenewalOfAVolumeThatIsGone(t *testing.T) {
	t.Parallel()
	n, d, state, token := liveVolume(t, -time.Minute)
	check(t, d.unpublish(t.Context(), testVolume, n.target))
	if err := d.renewWith(t.Context(), d.config.Current(), state, token, slot{}, time.Now()); !errors.Is(err, errNotLive) {
		t.Errorf("got %v, want %v", err, errNotLive)
	}
	d.background.Wait()
	mustLeaveNothing(t, n, d, state)
}

// mustLeaveNothing fails the test if there is anything of a volume, in the store or in
// memory, when the one who has its state is done with it.
func mustLeaveNothing(t *testing.T, n node, d *Driver, state *volumeState) {
	t.Helper()
	if ids, err := n.store.List(); err != nil || len(ids) != 0 {
		t.Errorf("the store has %q, %v", ids, err)
	}
	d.volumes.release(state)
	if len(d.volumes.all) != 0 {
		t.Errorf("left in memory: %v", d.volumes.all)
	}
}

// Nor one that begins while the volume is being unpublished.
func TestRenewalOfAVolumeThatIsLeaving(t *testing.T) {
	t.Parallel()
	_, d, state, token := liveVolume(t, -time.Minute)
	state.leave()
	if f := d.flight(state, d.order(d.config.Current(), testVolume, token), ofLive, time.Now()); f != nil {
		t.Error("a request was begun")
	}
	d.stay(state)
	if f := d.flight(state, d.order(d.config.Current(), testVolume, token), ofLive, time.Now()); f == nil {
		t.Error("no request was begun for a volume that stays")
	}
}

// As long as a volume cannot be unpublished it is renewed.
func TestVolumeThatCannotBeUnpublishedStays(t *testing.T) {
	t.Parallel()
	n, d, state, _ := liveVolume(t, time.Hour)
	want, _ := d.schedule.Due(testVolume)
	check(t, state.lock(t.Context())) // somebody else changes it, for too long
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.unpublish(ctx, testVolume, n.target); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if due, planned := d.schedule.Due(testVolume); !planned || !due.Equal(want) {
		t.Errorf("due at %s, %t, want %s", due, planned, want)
	}
	if state.leaving != 0 {
		t.Error("renewals are refused still")
	}
	state.unlock()
	check(t, d.unpublish(t.Context(), testVolume, n.target))
}

// One of two calls to unpublish a volume that gives up does not have it renewed while
// the other takes it away.
func TestUnpublishThatGivesUpBesideAnother(t *testing.T) {
	t.Parallel()
	n, d, state, token := liveVolume(t, -time.Minute)
	gaveUp, cancel := context.WithCancel(t.Context())
	cancel()
	d.step = func(name string) {
		if name != "volume unmounted" {
			return
		}
		if err := d.unpublish(gaveUp, testVolume, n.target); !errors.Is(err, context.Canceled) {
			t.Errorf("the other call: %v", err)
		}
		if due, planned := d.schedule.Due(testVolume); planned {
			t.Errorf("a renewal is planned for %s", due)
		}
		if f := d.flight(state, d.order(d.config.Current(), testVolume, token), ofLive, time.Now()); f != nil {
			t.Error("a request was begun")
			f.cancel(nil)
		}
	}
	check(t, d.unpublish(t.Context(), testVolume, n.target))
	d.background.Wait()
	mustLeaveNothing(t, n, d, state)
}

// A renewal whose document comes when its volume is gone leaves neither the request
// nor its key.
func TestDocumentForAVolumeThatIsGone(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	d, _, err := n.start(t)
	check(t, err)
	pending := n.leavePending(t, d)
	state := d.volumes.acquire(testVolume)
	state.claim(pending)
	document := newDocument(t)
	document.Request = pending.Request
	if err := d.replace(d.config.Current(), state, landed(d, document)); !errors.Is(err, errNotLive) {
		t.Errorf("got %v, want %v", err, errNotLive)
	}
	if d.discards.queue.Len() == 0 || d.isWanted(discarded{issuance.Ref{Name: pending.Request, Pod: pending.Pod}, issuance.VolumeLabel(testVolume)}) {
		t.Error("the request stays")
	}
	mustLeaveNothing(t, n, d, state)
}

// A document that another renewal has just brought is not replaced again.
func TestRenewalOfANewDocumentIsPutOff(t *testing.T) {
	t.Parallel()
	_, d, state, _ := liveVolume(t, time.Hour)
	want, _ := d.schedule.Due(testVolume)
	d.schedule.Cancel(testVolume)
	d.renew(t.Context(), testVolume, func() {})
	if due, planned := d.schedule.Due(testVolume); !planned || !due.Equal(want) {
		t.Errorf("due at %s, %t, want %s", due, planned, want)
	}
	if state.flight != nil {
		t.Error("a request was begun")
	}
}

// Metadata of another pod in a volume are damage if an earlier process has left
// them: the volume is not failed, and gets a document as soon as that can be.
func TestVolumeWithTheMetadataOfAnotherPodHeals(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.publish(t, time.Now(), time.Now().Add(time.Hour))
	other := n.metadata()
	other.PodUID, other.PodName = "another", "web-1"
	check(t, n.store.WriteMetadata(testVolume, other))
	d, out, err := n.start(t)
	check(t, err)
	d.log = slog.New(slog.NewTextHandler(out, nil))
	request := goodPublish(t)
	request.TargetPath = n.target
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // there is no API server
	defer cancel()
	check(t, d.publish(ctx, d.config.Current(), request))
	if due, planned := d.schedule.Due(testVolume); !planned || time.Until(due) > unaskedAge {
		t.Errorf("%t, %s: planned is a renewal for the other pod, not to end the request if nobody asks again", planned, due)
	}
	if !strings.Contains(out.String(), "metadata of another pod") {
		t.Errorf("the log says %s", out)
	}
	if mounted, err := n.store.Mounted(testVolume, n.target); err != nil || !mounted {
		t.Errorf("mounted: %t, %v", mounted, err)
	}
	if _, err := n.store.ReadFile(testVolume, "tls.crt"); err != nil {
		t.Errorf("the files of the pod: %v", err)
	}
	state := d.volumes.acquire(testVolume)
	state.setMetadata(&volume.Metadata{PodUID: "another"})
	if err := d.publish(ctx, d.config.Current(), request); !errors.Is(err, manager.ErrWrongPod) {
		t.Errorf("a volume that this process has published for another: got %v, want %v", err, manager.ErrWrongPod)
	}
}
