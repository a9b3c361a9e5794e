// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func TestVolumesForgetWhatThereIsNothingToKnowOf(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(s *volumeState)
		keep   bool
	}{
		{"nothing happened", func(*volumeState) {}, false},
		{"only a token", func(s *volumeState) { s.takeToken(manager.Token{}) }, false},
		{"published", func(s *volumeState) { s.setMetadata(&volume.Metadata{}) }, true},
		{"a request is under way", func(s *volumeState) { s.flight = &flight{} }, true},
		{"published, and unpublished", func(s *volumeState) { s.setMetadata(&volume.Metadata{}); s.forget() }, false},
		{"a request was collected", func(s *volumeState) { f := &flight{}; s.flight = f; s.collected(f) }, false},
		{"an earlier request was collected", func(s *volumeState) { s.flight = &flight{}; s.collected(&flight{}) }, true},
		{"a request was abandoned", func(s *volumeState) {
			s.flight = &flight{cancel: func(error) {}, attempt: observe.NewIssuances().Begin(observe.Publishing, time.Now())}
			s.abandon()
			s.abandon()
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var v volumes
			state, other := v.acquire("a"), v.acquire("b")
			row.change(state)
			if again := v.acquire("a"); again != state {
				t.Error("one volume has two states")
			}
			v.release(state)
			if v.all["a"] != state {
				t.Error("forgotten while in use")
			}
			v.release(state)
			if _, kept := v.all["a"]; kept != row.keep {
				t.Errorf("kept: %v, want %v", kept, row.keep)
			}
			v.release(other)
			if _, kept := v.all["b"]; kept {
				t.Error("another volume is kept")
			}
		})
	}
}

func TestVolumesAreForManyGoroutines(t *testing.T) {
	t.Parallel()
	var v volumes
	var users sync.WaitGroup
	inside := map[string]int{"a": 0, "b": 0}
	for i := range 100 {
		id := []string{"a", "b"}[i%2]
		users.Go(func() {
			state := v.acquire(id)
			defer v.release(state)
			if err := state.lock(t.Context()); err != nil {
				t.Error(err)
				return
			}
			defer state.unlock()
			if id == "a" { // the race detector tells if the lock does not hold
				inside["a"]++
			}
		})
	}
	users.Wait()
	if inside["a"] != 50 || len(v.all) != 0 {
		t.Errorf("%d were inside, want 50; left %v", inside["a"], v.all)
	}
}

func TestLockEndsWithTheContext(t *testing.T) {
	t.Parallel()
	var v volumes
	state := v.acquire("a")
	check(t, state.lock(t.Context()))
	gone := errors.New("the kubelet hung up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if err := state.lock(ctx); !errors.Is(err, gone) {
		t.Errorf("got %v, want its cause", err)
	}
	state.unlock()
	check(t, state.lock(t.Context()))
}

func TestTokenForRenewal(t *testing.T) {
	t.Parallel()
	now, raw := time.Now(), "token"
	fresh := manager.Token{Secret: issuance.NewToken(raw), PodToken: spiffe.PodToken{Expiry: now.Add(time.Hour)}}
	stale := manager.Token{Secret: issuance.NewToken(raw), PodToken: spiffe.PodToken{Expiry: now.Add(-time.Hour)}}

	state := &volumeState{token: fresh}
	if _, err := state.tokenForRenewal(now); !errors.Is(err, errNotLive) || state.dueWithoutToken {
		t.Error("a volume that is not published is renewed")
	}
	state.setMetadata(&volume.Metadata{})
	if got, err := state.tokenForRenewal(now); err != nil || got != fresh {
		t.Error("a good token is not used")
	}
	if state.takeToken(stale) {
		t.Error("a renewal was due, though there was a token all along")
	}
	if _, err := state.tokenForRenewal(now); !errors.Is(err, errNoUsableToken) {
		t.Error("a stale token is used")
	}
	if !state.takeToken(fresh) {
		t.Error("nobody noticed that a renewal waited for this token")
	}
	if state.takeToken(fresh) {
		t.Error("a renewal is due twice")
	}
}

func TestCancellingAFlightSaysWhy(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	state := &volumeState{flight: &flight{cancel: cancel, attempt: observe.NewIssuances().Begin(observe.Publishing, time.Now())}}
	if err := state.explain(errStopping); !errors.Is(err, errStopping) {
		t.Errorf("explained as %v", err)
	}
	state.abandon()
	if cause := context.Cause(ctx); !errors.Is(cause, errUnpublished) {
		t.Errorf("cancelled because of %v", cause)
	}
	if err := state.explain(errStopping); err != errStopping { //nolint:errorlint // It must be the very same.
		t.Errorf("explained as %v", err)
	}
}

func TestPublishContext(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	c := testConfig(t, "driver: {publishTimeout: 30s}")
	for _, row := range []struct {
		name          string
		kubelet, want time.Duration
	}{
		{"the configuration's is first", 2 * time.Minute, 30 * time.Second},
		{"the kubelet's is first", 10 * time.Second, 10*time.Second - replyMargin},
		{"no time left", time.Millisecond, time.Millisecond - replyMargin},
	} {
		began := time.Now()
		calls, hangUp := context.WithTimeout(t.Context(), row.kubelet)
		ctx, cancel := d.publishContext(calls, c)
		deadline, _ := ctx.Deadline()
		if got := deadline.Sub(began); got < row.want || got > row.want+5*time.Second {
			t.Errorf("%s: ends after %s, want %s", row.name, got, row.want)
		}
		cancel()
		hangUp()
	}
	ctx, cancel := d.publishContext(t.Context(), c)
	defer cancel()
	d.stop(errStopping)
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, errStopping) {
		t.Errorf("ended because of %v, want errStopping", cause)
	}
}

// A request made under another policy is not taken for this one's.
func TestFlightOfAnotherPolicyIsCancelled(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	d := newTestDriver(t, nil)
	state := d.volumes.acquire(testVolume)
	request := goodPublish(t)
	one := d.flight(state, d.order(testConfig(t), testVolume, request.Token), ofAny, time.Now())
	if same := d.flight(state, d.order(testConfig(t), testVolume, request.Token), ofAny, time.Now()); same != one {
		t.Error("two requests under one policy")
	}
	other := d.flight(state, d.order(testConfig(t, "certificate: {duration: 2h}"), testVolume, request.Token), ofAny, time.Now())
	if other == one {
		t.Error("a request of another policy is used")
	}
	<-one.landed
	if !errors.Is(one.err, errReplaced) || one.document != nil {
		t.Errorf("it ended with %v", one.err)
	}
	state.abandon()
	<-other.landed
}

// Requests begin and end while others come and go: nobody waits for ever.
func TestFlightsOfOneVolumeBeginAndEndAtOnce(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	d.stop(errStopping) // requests end as soon as they have begun
	request := goodPublish(t)
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			for range 200 {
				state := d.volumes.acquire(testVolume)
				d.flight(state, d.order(testConfig(t), testVolume, request.Token), ofAny, time.Now())
				<-state.abandon()
				d.volumes.release(state)
			}
		})
	}
	users.Wait()
	d.background.Wait()
	if len(d.volumes.all) != 0 || len(d.volumes.labels) != 0 {
		t.Errorf("left in memory: %v", d.volumes.all)
	}
}
