// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
)

// life is one volume of a test, with a clock that the test sets.
type life struct {
	now     time.Time
	want    lifecycle.Desired
	state   lifecycle.State
	actions []lifecycle.Action
}

// newLife returns a volume that an earlier process has left, or, without one, nothing.
func newLife(id string, v lifecycle.Volume, now time.Time) *life {
	want := policies[0]
	want.Timing, want.ReissueWindow, want.PublishTimeout, want.Content = timings[0], reissueWindow, publishTimeout, v.Content
	l := &life{now: now, want: want, state: lifecycle.State{ID: id}}
	if v != (lifecycle.Volume{}) {
		l.take(lifecycle.Recovered{Volume: v, HasVolume: true})
	}
	return l
}

// take has the volume take events, one after the other. What it does is that of the last one.
func (l *life) take(events ...lifecycle.Event) {
	for _, e := range events {
		l.state, l.actions = lifecycle.Next(l.now, l.want, l.state, e)
	}
}

// action returns the first action of a type that followed the last event.
func action[A lifecycle.Action](t *testing.T, l *life) A {
	t.Helper()
	a, ok := find[A](l)
	if !ok {
		t.Fatalf("no %T in %+v", a, l.actions)
	}
	return a
}

func find[A lifecycle.Action](l *life) (found A, ok bool) {
	i := slices.IndexFunc(l.actions, func(a lifecycle.Action) bool { _, is := a.(A); return is })
	if i < 0 {
		return found, false
	}
	return l.actions[i].(A), true
}

// token has the volume know its pod: the kubelet publishes it again.
func (l *life) token() {
	l.take(lifecycle.Publish{Call: 1, Pod: pods[0], Target: targetNames[0], TokenExpiry: l.now.Add(100 * hour)}, lifecycle.Inspected{Published: true})
}

// inPod is a volume in its pod, with an SVID that was obtained a while ago.
func inPod(now time.Time, ago, left time.Duration) lifecycle.Volume {
	return lifecycle.Volume{
		PodUID: pods[0].UID, Target: targetNames[0], Content: contents[0],
		SVID: lifecycle.SVID{Identity: policies[0].Identity, Request: "r1", Lifetime: lifecycle.Lifetime{
			NotBefore: now.Add(-ago), NotAfter: now.Add(left), Obtained: now.Add(-ago), Requested: hour,
		}},
	}
}

// earlyAfter is how many early renewals a volume gets that is renewed at a time.
func earlyAfter(t *testing.T, id string, v lifecycle.Volume, now time.Time) int {
	t.Helper()
	v.PodUID, v.Target = pods[0].UID, targetNames[0]
	l := newLife(id, v, now)
	l.token()
	l.take(lifecycle.Due{}, lifecycle.Prepared{Request: "r2"}, lifecycle.Issued{SVID: lifecycle.SVID{
		Identity: l.want.Identity, Request: "r2",
		Lifetime: lifecycle.Lifetime{NotBefore: now, NotAfter: now.Add(hour), Obtained: now, Requested: hour},
	}})
	return action[lifecycle.Write](t, l).EarlyRenewals
}

func TestEarlyAfter(t *testing.T) {
	t.Parallel()
	began := epoch
	for _, row := range []struct {
		name     string
		early    int
		identity string
		late     time.Duration
		want     int
	}{
		{"the first renewal", 2, "i0", 0, 1},
		{"the second", 1, "i0", 0, 0},
		{"a later one", 0, "i0", 0, 0},
		{"a little late", 0, "i0", 5 * time.Minute, 0},
		{"late", 0, "i0", 7 * time.Minute, lifecycle.EarlyRenewals},
		{"late at first", 2, "i0", 7 * time.Minute, lifecycle.EarlyRenewals},
		{"a re-issue", 0, "other", -20 * time.Minute, lifecycle.EarlyRenewals},
	} {
		v := inPod(began, 0, hour)
		v.EarlyRenewals, v.Identity = row.early, row.identity
		if got := earlyAfter(t, "csi-1", v, timings[0].RenewalTime("csi-1", v).Add(row.late)); got != row.want {
			t.Errorf("%s: %d early renewals, want %d", row.name, got, row.want)
		}
	}
}

func TestNeedsReissue(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, identity string
		asked, left    time.Duration
		want           bool
	}{
		{"as configured", "i0", hour, hour, false},
		{"half spent", "i0", hour, time.Minute, false},
		{"asked for longer, much left", "i0", 4 * hour, 3 * hour, true},
		{"asked for longer, spent", "i0", 4 * hour, time.Minute, false},
		{"signed for longer than asked", "i0", hour, 24 * hour, false},
		{"made for another issuer", "another", hour, hour, true},
		{"made by an earlier version", "", 0, hour, true},
	} {
		v := inPod(epoch, 0, row.left)
		v.Identity, v.Requested = row.identity, row.asked
		l := newLife(volumeID, v, epoch)
		if got := l.state.NeedsReissue(); got != row.want {
			t.Errorf("%s: %t, want %t", row.name, got, row.want)
		}
		if due := l.state.Due().At; row.want && (due.Before(epoch) || due.After(epoch.Add(reissueWindow))) {
			t.Errorf("%s: due at %s, which is not in the window", row.name, due)
		}
	}
}

// Re-issues are spread over their window, and are planned no more if the change is taken back.
func TestReissuesAreSpread(t *testing.T) {
	t.Parallel()
	halves := [2]int{}
	for i := range 32 {
		l := newLife(fmt.Sprint("csi-", i), inPod(epoch, 0, hour), epoch)
		before := l.state.Due()
		l.want.Policy, l.want.Identity = policies[2].Policy, policies[2].Identity
		l.take(lifecycle.Changed{})
		after := l.state.Due().At.Sub(epoch)
		if !l.state.NeedsReissue() || after < 0 || after > reissueWindow {
			t.Fatalf("%s: due after %s", l.state.ID, after)
		}
		halves[min(1, after/(reissueWindow/2))]++
		l.want.Policy, l.want.Identity = policies[0].Policy, policies[0].Identity
		l.take(lifecycle.Changed{})
		if l.state.NeedsReissue() || l.state.Due() != before {
			t.Errorf("%s: due %v after the change was taken back, want %v", l.state.ID, l.state.Due(), before)
		}
	}
	if min(halves[0], halves[1]) == 0 {
		t.Errorf("by halves of the window: %v", halves)
	}
}

// For how long a renewal keeps its slot while approver and issuer do not answer.
func TestRenewalKeepsItsSlotForAWhile(t *testing.T) {
	t.Parallel()
	failed := lifecycle.Refused{Reason: lifecycle.Rejected, Err: errGivenUp}
	for _, row := range []struct {
		name     string
		lifetime time.Duration
		events   []lifecycle.Event
		want     time.Duration
	}{
		{"a sixtieth of the lifetime", 3 * time.Minute, []lifecycle.Event{lifecycle.Reached{Progress: lifecycle.Created}}, 3 * time.Second},
		{"at least a second", 9 * time.Second, []lifecycle.Event{lifecycle.Reached{Progress: lifecycle.Created}}, time.Second},
		{"at most ten", 24 * hour, []lifecycle.Event{lifecycle.Reached{Progress: lifecycle.Created}}, 10 * time.Second},
		{"while the API server is asked", 3 * time.Minute, []lifecycle.Event{lifecycle.Reached{Progress: lifecycle.Asking}}, lifecycle.MostHold},
		{"from when it is created", 3 * time.Minute, []lifecycle.Event{lifecycle.Reached{Progress: lifecycle.Asking}, lifecycle.Reached{Progress: lifecycle.Created}}, 3 * time.Second},
		{"not at all after a failure", hour, []lifecycle.Event{failed, lifecycle.Due{}, lifecycle.Prepared{Request: "r3"}, lifecycle.Reached{Progress: lifecycle.Created}}, 0},
		{"not while it waits for a quota, after a failure", hour, []lifecycle.Event{
			failed, lifecycle.Due{}, lifecycle.Prepared{Request: "r3"}, lifecycle.Refused{Reason: lifecycle.QuotaExceeded, Cleared: true},
		}, 0},
		{"for a quota", 3 * time.Minute, []lifecycle.Event{lifecycle.Refused{Reason: lifecycle.QuotaExceeded, Cleared: true}}, 3 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := inPod(epoch, row.lifetime, 0)
			v.NotBefore, v.NotAfter = epoch.Add(-row.lifetime), epoch
			v.Requested = row.lifetime
			l := newLife(volumeID, v, epoch)
			l.want.Duration = row.lifetime
			l.token()
			l.take(lifecycle.Due{}, lifecycle.Prepared{Request: "r2"})
			if !l.state.HoldsSlot() {
				t.Fatal("it holds no slot")
			}
			l.take(row.events...)
			if row.want == 0 {
				if l.state.HoldsSlot() || !l.state.IsRenewing() {
					t.Errorf("it holds its slot: %t, and goes on: %t", l.state.HoldsSlot(), l.state.IsRenewing())
				}
				return
			}
			if arm := lastArm(l, lifecycle.SlotTimer); arm != row.want {
				t.Errorf("for %s, want %s", arm, row.want)
			}
			l.take(lifecycle.Elapsed{Timer: lifecycle.SlotTimer})
			if l.state.HoldsSlot() || !l.state.IsRenewing() {
				t.Errorf("after that it holds its slot: %t, and goes on: %t", l.state.HoldsSlot(), l.state.IsRenewing())
			}
		})
	}
}

// lastArm returns for how long a timer was started last, by the last event.
func lastArm(l *life, timer lifecycle.Timer) (after time.Duration) {
	for _, a := range l.actions {
		if arm, is := a.(lifecycle.Arm); is && arm.Timer == timer {
			after = arm.After
		}
	}
	return after
}

// A pod waits for its first SVID to become valid if that takes at most a minute, and is told
// so if it takes longer.
func TestFirstSVIDThatIsNotValidYet(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		ahead time.Duration
		waits bool
	}{
		{"a second", time.Second, true},
		{"a minute", lifecycle.LongestAhead, true},
		{"more than a minute", lifecycle.LongestAhead + 1, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := newLife(volumeID, lifecycle.Volume{}, epoch)
			l.take(lifecycle.Publish{Call: 1, Pod: pods[0], Target: targetNames[0], TokenExpiry: epoch.Add(hour)}, lifecycle.Inspected{}, lifecycle.Prepared{Request: "r1"})
			l.take(lifecycle.Issued{SVID: lifecycle.SVID{Identity: l.want.Identity, Request: "r1", Lifetime: lifecycle.Lifetime{
				NotBefore: epoch.Add(row.ahead), NotAfter: epoch.Add(hour), Obtained: epoch, Requested: hour,
			}}})
			if !row.waits {
				l.take(lifecycle.Undone{})
				var early *lifecycle.NotYetValidError
				if err := action[lifecycle.Reply](t, l).Err; !errors.As(err, &early) || !early.From.Equal(epoch.Add(row.ahead)) || !early.IsFar() {
					t.Errorf("answered with %v", err)
				}
				return
			}
			if got := lastArm(l, lifecycle.ValidityTimer); got != min(row.ahead, time.Second) {
				t.Errorf("it looks again after %s", got)
			}
			l.now = epoch.Add(row.ahead)
			l.take(lifecycle.Elapsed{Timer: lifecycle.ValidityTimer})
			action[lifecycle.Write](t, l)
		})
	}
}

// A renewed SVID that is not valid yet is delivered when it is, or when the one in the volume
// has expired. That is no failure.
func TestRenewedSVIDIsDeliveredLater(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name            string
		ahead, left, at time.Duration
	}{
		{"seconds", 2 * time.Second, 20 * time.Minute, 2 * time.Second},
		{"minutes", 5 * time.Minute, 20 * time.Minute, 5 * time.Minute},
		{"longer than there is time", hour, 20 * time.Minute, 20*time.Minute + time.Second},
		{"less than clocks are set by", time.Millisecond, 20 * time.Minute, 100 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := newLife(volumeID, inPod(epoch, 40*time.Minute, row.left), epoch)
			l.token()
			l.take(lifecycle.Due{}, lifecycle.Prepared{Request: "r2"}, lifecycle.Issued{SVID: lifecycle.SVID{
				Identity: l.want.Identity, Request: "r2",
				Lifetime: lifecycle.Lifetime{NotBefore: epoch.Add(row.ahead), NotAfter: epoch.Add(row.ahead + hour), Obtained: epoch, Requested: hour},
			}})
			if due := l.state.Due(); !due.At.Equal(epoch.Add(row.at)) || l.state.Failures() != 0 || l.state.IsRenewing() {
				t.Fatalf("due at %s after %d failures, want %s", due.At, l.state.Failures(), epoch.Add(row.at))
			}
			l.now = epoch.Add(row.at)
			l.take(lifecycle.Due{})
			action[lifecycle.Write](t, l)
			if _, asks := find[lifecycle.Issue](l); asks {
				t.Error("another one is requested")
			}
		})
	}
}

// A clock that was ahead when the SVID was obtained, and is set back, is not waited for: the
// renewal is due as if the SVID had been obtained then.
func TestRenewalIsPlannedAnewWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name           string
		ahead          time.Duration
		fails          bool
		corrects, anew bool
	}{
		{"an hour ahead", hour, false, true, true},
		{"a second ahead, as clocks differ", time.Second, false, false, false},
		{"right", 0, false, false, false},
		{"the next attempt after a failure stays", hour, true, true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wrong := epoch.Add(row.ahead)
			v := inPod(epoch, 0, 4*hour)
			v.Obtained = wrong
			l := newLife(volumeID, v, wrong)
			if row.fails {
				l.now = wrong.Add(2 * hour)
				l.token()
				l.take(lifecycle.Due{}, lifecycle.Prepared{Err: errGivenUp})
			}
			before := l.state.Due()
			l.now = epoch
			l.take(lifecycle.ClockSet{})
			corrected, corrects := find[lifecycle.Correct](l)
			if corrects != row.corrects || corrects && !corrected.Volume.Obtained.Equal(epoch) {
				t.Errorf("corrected: %t, to %s", corrects, corrected.Volume.Obtained)
			}
			if anew := l.state.Due() != before; anew != row.anew {
				t.Errorf("planned anew: %t, want %t", anew, row.anew)
			}
		})
	}
}

// When a pod's first request is made again while the API server is away.
func TestRetriesDoAsTheAPIServerSays(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name        string
		failures    int
		retryAfter  time.Duration
		least, most time.Duration
	}{
		{"it says nothing", 1, 0, time.Second / 2, time.Second},
		{"it says nothing, many times", 20, 0, 5 * time.Second, 10 * time.Second},
		{"less than would be waited anyway", 20, time.Second, 5 * time.Second, 10 * time.Second},
		{"more, with a jitter", 1, time.Minute, time.Minute, 90 * time.Second},
	} {
		l := newLife(volumeID, lifecycle.Volume{}, epoch)
		l.take(lifecycle.Publish{Call: 1, Pod: pods[0], Target: targetNames[0], TokenExpiry: epoch.Add(hour)}, lifecycle.Inspected{}, lifecycle.Prepared{Request: "r1"})
		for range row.failures {
			l.take(lifecycle.Elapsed{Timer: lifecycle.RetryTimer}, lifecycle.Refused{Reason: lifecycle.Unavailable, Err: errGivenUp, RetryAfter: row.retryAfter})
		}
		if got := lastArm(l, lifecycle.RetryTimer); got < row.least || got > row.most {
			t.Errorf("%s: after %s, want from %s to %s", row.name, got, row.least, row.most)
		}
	}
}

// A quota is waited for only if requests were deleted to make room, and for so long.
func TestQuotaIsWaitedForAWhile(t *testing.T) {
	t.Parallel()
	l := newLife(volumeID, lifecycle.Volume{}, epoch)
	l.take(lifecycle.Publish{Call: 1, Pod: pods[0], Target: targetNames[0], TokenExpiry: epoch.Add(hour)}, lifecycle.Inspected{}, lifecycle.Prepared{Request: "r1"})
	var waited time.Duration
	for range 100 {
		l.take(lifecycle.Refused{Reason: lifecycle.QuotaExceeded, Err: errGivenUp, Cleared: true})
		wait := lastArm(l, lifecycle.RetryTimer)
		if wait == 0 {
			break
		}
		waited += wait
		l.take(lifecycle.Elapsed{Timer: lifecycle.RetryTimer})
	}
	if waited < lifecycle.QuotaWait || waited > lifecycle.QuotaWait+time.Second {
		t.Errorf("waited for %s", waited)
	}
	l = newLife(volumeID, lifecycle.Volume{}, epoch)
	l.take(lifecycle.Publish{Call: 1, Pod: pods[0], Target: targetNames[0], TokenExpiry: epoch.Add(hour)}, lifecycle.Inspected{}, lifecycle.Prepared{Request: "r1"})
	l.take(lifecycle.Refused{Reason: lifecycle.QuotaExceeded, Err: errGivenUp}, lifecycle.Undone{})
	if err := action[lifecycle.Reply](t, l).Err; !errors.Is(err, errGivenUp) {
		t.Errorf("without deletions: %v", err)
	}
}

// Only so many names are tried if others have taken them.
func TestNamesThatAreTakenAreTriedSoOften(t *testing.T) {
	t.Parallel()
	l := newLife(volumeID, lifecycle.Volume{}, epoch)
	l.take(lifecycle.Publish{Call: 1, Pod: pods[0], Target: targetNames[0], TokenExpiry: epoch.Add(hour)}, lifecycle.Inspected{})
	for i := range lifecycle.MostNames {
		action[lifecycle.Prepare](t, l)
		l.take(lifecycle.Prepared{Request: fmt.Sprint("r", i)}, lifecycle.Refused{Reason: lifecycle.NameTaken, Err: errGivenUp})
	}
	l.take(lifecycle.Undone{})
	if err := action[lifecycle.Reply](t, l).Err; !errors.Is(err, errGivenUp) {
		t.Errorf("answered with %v", err)
	}
}

// Next reads nothing and writes nothing but its arguments: the same again comes to the same.
func TestNextIsPure(t *testing.T) {
	t.Parallel()
	l := newLife(volumeID, lifecycle.Volume{}, epoch)
	l.take(
		lifecycle.Publish{Call: 1, Pod: pods[0], Target: targetNames[0], TokenExpiry: epoch.Add(hour)}, lifecycle.Inspected{}, lifecycle.Prepared{Request: "r1"},
		lifecycle.Publish{Call: 2, Pod: pods[0], Target: targetNames[0], TokenExpiry: epoch.Add(hour)}, lifecycle.Inspected{},
	)
	key := func(s *lifecycle.State) string {
		return string(s.AppendKey(nil, &lifecycle.Canon{
			Now: epoch, Request: func(string) byte { return 1 }, Call: func(id lifecycle.CallID) byte { return byte(id) }, Err: func(err error) byte { return errKey(err, 0) },
		}))
	}
	before := key(&l.state)
	first, _ := lifecycle.Next(epoch, l.want, l.state, lifecycle.CallEnded{Call: 1, Err: errGivenUp})
	if key(&l.state) != before {
		t.Error("the state was changed that was given")
	}
	second, _ := lifecycle.Next(epoch, l.want, l.state, lifecycle.CallEnded{Call: 1, Err: errGivenUp})
	if key(&first) != key(&second) {
		t.Error("the same has come to something else")
	}
}
