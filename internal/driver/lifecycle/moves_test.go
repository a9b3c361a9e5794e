// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"fmt"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
)

// move is something that happens in a world, with one thing in it that is not as usual.
type move struct {
	kind kind
	arg  uint8
	pick pick
}

type kind uint8

const (
	publish kind = iota
	strangerPublishes
	giveUp
	unpublish
	unusable
	start
	killed
	changed
	clockSet
	due
	staleDue
	contentDue
	staleContentDue
	timer
	ask
	create
	collect
	end
	lost
	unavailable
	quota
	quotaCleared
	nameTaken
	rejected
	sign
	deny
	deleteRequest
	keeper
	broken
	passTick
	passMoment
	clockBack
	clockForward
	setPolicy
	setContent
	setTiming
	somebodyUnmounts
	somebodyMounts
	filesDamaged
	kinds
)

// moveNames are the words of traces. What begins with % is the argument.
var moveNames = [kinds]string{
	"kubelet: publish at target %d", "kubelet: publish for another pod", "kubelet: give up call %d", "kubelet: unpublish at target %d",
	"kubelet: publish that cannot be used", "driver: start", "driver: killed", "driver: told of the configuration", "driver: told of the clock",
	"driver: due", "driver: due by an old plan", "driver: content due", "driver: content due by an old plan", "driver: timer %s ends",
	"request: asked", "request: created", "request: collected", "request: ended", "request: created, and the answer lost", "request: API server away",
	"request: no room in the quota", "request: no room in the quota, others deleted", "request: name taken", "request: not accepted",
	"issuer: signs, %s", "approver: denies", "somebody: deletes the request", "driver: unwanted requests deleted", "driver: finds that the files are damaged",
	"clock: 10 minutes pass", "clock: 30 seconds pass", "clock: set back", "clock: set forward",
	"config: policy %d", "config: content %d", "config: timing %d",
	"somebody: unmounts target %d", "somebody: mounts something at target %d", "somebody: damages the files",
}

func (m move) String() string {
	name := moveNames[m.kind]
	switch {
	case m.kind == timer:
		name = fmt.Sprintf(name, timerNames[m.arg])
	case m.kind == sign:
		name = fmt.Sprintf(name, kindsOfSVID[m.arg].name)
	case args[m.kind] > 0:
		name = fmt.Sprintf(name, m.arg)
	}
	if m.pick.what != usual {
		name += "; " + whatNames[m.pick.what]
		if m.pick.n > 1 {
			name += fmt.Sprintf(", time %d", m.pick.n)
		}
	}
	return name
}

// args says how many arguments a kind has to choose from; 0: none.
var args = [kinds]uint8{
	publish: 2, giveUp: mostCalls, unpublish: 2, timer: uint8(lifecycle.Timers), sign: uint8(len(kindsOfSVID)),
	setPolicy: uint8(len(policies)), setContent: uint8(len(contents)), setTiming: uint8(len(timings)), somebodyUnmounts: 2, somebodyMounts: 2,
}

// kindsOfSVID are what an issuer may sign: from when, and until when after the lifetime that
// was requested. Only the first is as it should be. None ends at a moment at which something
// else happens.
var kindsOfSVID = [...]struct {
	name        string
	from, until time.Duration
	// fixed is set if the end does not depend on the lifetime.
	fixed bool
}{
	{"as requested", 0, time.Second, false},
	{"dated back", -hour, time.Second, false},
	{"short", 0, tick + time.Minute + time.Second, true},
	{"valid soon", 20 * time.Second, time.Second, false},
	{"valid later", 2 * tick, 2*tick + time.Second, false},
	{"valid after a lifetime", 3 * hour, 3 * hour, false},
	{"expired", -2 * hour, -time.Minute, true},
	{"valid at no time", 10 * hour, 9 * hour, true},
	{"overlong", 0, 24 * hour, true},
}

// all are all moves that there are, without what is unusual in them.
var all = func() (moves []move) {
	for k := range kinds {
		for arg := range max(args[k], 1) {
			moves = append(moves, move{kind: k, arg: arg})
		}
	}
	return moves
}()

// can reports whether a move is possible.
func (w *world) can(m move) bool { //nolint:gocyclo // One case for each kind.
	l := &w.left
	r := w.find(w.issuing.number)
	s := &w.state
	switch m.kind {
	case publish:
		return w.up && l.publishes > 0 && w.free() >= 0 && (m.arg == 0 || l.retargets > 0)
	case strangerPublishes:
		return w.up && l.strangers > 0 && w.free() >= 0
	case giveUp:
		return w.up && l.giveUps > 0 && w.calls[m.arg].id != 0 && !w.calls[m.arg].given
	case unpublish:
		return w.up && l.unpublishes > 0 && w.free() >= 0 && (m.arg == 0 || l.retargets > 0)
	case unusable:
		return w.up && l.damages > 0 && w.mounts[0] == foreign && !s.IsDamaged()
	case start:
		return !w.up
	case killed:
		return w.up && l.crashes > 0
	case changed:
		return w.up && w.changed
	case clockSet:
		return w.up && w.clockSet
	case due:
		return w.up && w.fires(s.Due())
	case staleDue:
		return w.up && l.stales > 0 && !s.IsEmpty() && !w.fires(s.Due())
	case contentDue:
		return w.up && w.fires(s.ContentDue())
	case staleContentDue:
		return w.up && l.stales > 0 && !s.IsEmpty() && !w.fires(s.ContentDue())
	case timer:
		return w.up && w.timers[m.arg]
	case ask:
		return w.issuing.running && w.issuing.stage == 0
	case create:
		return w.issuing.running && w.issuing.stage == 1 && (r != nil || w.requests[mostRequests-1].number == 0)
	case collect:
		return w.issuing.running && w.issuing.stage == 2 && (r == nil || r.decision != undecided)
	case end:
		return w.issuing.running && w.issuing.cancelled
	case lost:
		return w.issuing.running && w.issuing.stage == 1 && l.apiFaults > 0 && r == nil && w.requests[mostRequests-1].number == 0
	case unavailable:
		return w.issuing.running && w.issuing.stage == 1 && l.apiFaults > 0
	case quota, quotaCleared, nameTaken, rejected:
		return w.issuing.running && w.issuing.stage == 1 && l.apiFaults > 0 && r == nil
	case sign:
		return w.undecided() != nil && (m.arg == 0 || l.apiFaults > 0)
	case deny, deleteRequest:
		return w.undecided() != nil && l.apiFaults > 0
	case keeper:
		if w.up {
			for i := range w.requests {
				if w.requests[i].discard {
					return true
				}
			}
		}
		return false
	case broken:
		_, has := s.Volume()
		return w.up && w.files.damaged && has && !s.NeedsReissue()
	case passTick:
		return l.ticks > 0 && !w.isUrgent()
	case passMoment:
		return l.moments > 0
	case clockBack, clockForward:
		return l.clocks > 0 && !w.clockSet
	case setPolicy:
		return l.configs > 0 && w.want.policy != m.arg
	case setContent:
		return l.configs > 0 && w.want.content != m.arg
	case setTiming:
		return l.configs > 0 && w.want.timing != m.arg
	case somebodyUnmounts:
		return l.damages > 0 && w.mounts[m.arg] != nothing
	case somebodyMounts:
		return l.damages > 0 && w.mounts[m.arg] == nothing
	case filesDamaged:
		return l.damages > 0 && w.files.there && !w.files.damaged
	case kinds:
	}
	return false
}

// undecided is the first request that approver and issuer have not decided on.
func (w *world) undecided() *request {
	for i := range w.requests {
		if r := &w.requests[i]; r.number != 0 && r.decision == undecided {
			return r
		}
	}
	return nil
}

// free is the place of a new call, or -1.
func (w *world) free() int {
	for i := range min(2+w.left.more, mostCalls) {
		if w.calls[i].id == 0 {
			return int(i)
		}
	}
	return -1
}

// fires reports whether a plan's time has come. One after a time may come at any time.
func (w *world) fires(p lifecycle.Plan) bool {
	return p.Set && (p.At.IsZero() || !p.At.After(w.time()))
}

// isUrgent reports whether something happens within minutes for certain.
func (w *world) isUrgent() bool {
	for t, is := range w.timers {
		if is && lifecycle.Timer(t) != lifecycle.ValidityTimer {
			return true
		}
	}
	return w.changed || w.clockSet || w.issuing.cancelled
}

// do makes a move, and all that the driver does because of it.
func (x *step) do(m move) { //nolint:gocyclo // One case for each kind.
	w := &x.w
	l := &w.left
	switch m.kind {
	case publish:
		l.publishes--
		if m.arg != 0 {
			l.retargets--
		}
		x.publish(m.arg, 0)
	case strangerPublishes:
		l.strangers--
		x.publish(1, 1)
	case giveUp:
		l.giveUps--
		w.calls[m.arg].given = true
		x.take(lifecycle.CallEnded{Call: w.calls[m.arg].id, Err: errGivenUp})
	case unpublish:
		l.unpublishes--
		if m.arg != 0 {
			l.retargets--
		}
		x.unpublish(m.arg)
	case unusable:
		l.damages--
		x.take(lifecycle.Damaged{})
	case start:
		x.start()
	case killed:
		l.crashes--
		x.die()
	case changed:
		w.changed = false
		x.takeChanged()
	case clockSet:
		w.clockSet = false
		x.take(lifecycle.ClockSet{})
	case due:
		x.take(lifecycle.Due{Since: w.time()})
	case staleDue:
		l.stales--
		x.take(lifecycle.Due{Since: w.time()})
	case contentDue:
		x.take(lifecycle.ContentDue{})
	case staleContentDue:
		l.stales--
		x.take(lifecycle.ContentDue{})
	case timer:
		w.timers[m.arg] = false
		x.take(lifecycle.Elapsed{Timer: lifecycle.Timer(m.arg)})
	case broken:
		x.take(lifecycle.Broken{})
	case ask:
		w.issuing.stage = 1
		x.take(lifecycle.Reached{Progress: lifecycle.Asking})
	case create:
		x.create()
		w.issuing.stage = 2
		x.take(lifecycle.Reached{Progress: lifecycle.Created})
	case collect:
		x.collect()
	case end:
		x.refused(lifecycle.Cancelled, "cancelled")
	case lost:
		l.apiFaults--
		x.create()
		x.refused(lifecycle.Unavailable, "answer lost")
	case unavailable:
		l.apiFaults--
		x.refused(lifecycle.Unavailable, "API server away")
	case quota:
		l.apiFaults--
		x.refused(lifecycle.QuotaExceeded, "quota exceeded")
	case quotaCleared:
		l.apiFaults--
		w.requests = [mostRequests]request{}
		x.refused(lifecycle.QuotaExceeded, "quota exceeded")
	case nameTaken:
		l.apiFaults--
		x.refused(lifecycle.NameTaken, "name taken")
	case rejected:
		l.apiFaults--
		x.refused(lifecycle.Rejected, "not accepted")
	default:
		x.pass(m)
	}
}

// pass makes a move of which the driver learns nothing now.
func (x *step) pass(m move) {
	w := &x.w
	l := &w.left
	switch m.kind {
	case sign:
		if m.arg != 0 {
			l.apiFaults--
		}
		r := w.undecided()
		kind := kindsOfSVID[m.arg]
		until := kind.until
		if !kind.fixed {
			until += r.order.real().Duration
		}
		r.decision, r.svid = signed, certificate{w.now + kind.from, w.now + until, w.now}
	case deny:
		l.apiFaults--
		w.undecided().decision = denied
	case deleteRequest:
		l.apiFaults--
		w.drop(w.undecided().number)
	case keeper:
		for i := mostRequests - 1; i >= 0; i-- {
			if r := w.requests[i]; r.discard {
				w.requests[i].discard = false
				if !w.isWanted(r.number) {
					w.drop(r.number)
				}
			}
		}
	case passTick:
		l.ticks--
		w.now += tick
	case passMoment:
		l.moments--
		w.now += moment
	case clockBack:
		l.clocks--
		w.now -= 4 * tick
		w.clockSet = w.up
	case clockForward:
		l.clocks--
		w.now += 4 * tick
		w.clockSet = w.up
	case setPolicy:
		l.configs--
		w.want.policy, w.changed = m.arg, w.up
	case setContent:
		l.configs--
		w.want.content, w.changed = m.arg, w.up
	case setTiming:
		l.configs--
		w.want.timing, w.changed = m.arg, w.up
	case somebodyUnmounts:
		l.damages--
		w.mounts[m.arg] = nothing
	case somebodyMounts:
		l.damages--
		w.mounts[m.arg] = foreign
	case filesDamaged:
		l.damages--
		w.files.damaged = true
	default:
	}
}

// publish is a call to publish the volume, with a token of a pod.
func (x *step) publish(target, pod uint8) {
	w := &x.w
	w.nextCall++
	w.calls[w.free()] = call{id: w.nextCall, target: target, pod: pod}
	w.gone, w.owes = false, false
	if pod == 0 {
		w.goal = true
	}
	x.take(lifecycle.Publish{Call: w.nextCall, Pod: pods[pod], Target: targetNames[target], TokenExpiry: w.time().Add(tokenLife)})
}

func (x *step) unpublish(target uint8) {
	w := &x.w
	w.nextCall++
	w.calls[w.free()] = call{id: w.nextCall, target: target, unpublish: true}
	w.goal = false
	w.published = [2]bool{}
	x.take(lifecycle.Unpublish{Call: w.nextCall, Target: targetNames[target]})
}

// takeChanged tells the driver of the configuration. Edits neither put off nor bring on an
// attempt after a failure.
func (x *step) takeChanged() {
	w := &x.w
	before, reissue, failures, renewing := w.state.Due(), w.state.NeedsReissue(), w.state.Failures(), w.state.IsRenewing()
	x.take(lifecycle.Changed{})
	if w.up && failures > 0 && !renewing && reissue == w.state.NeedsReissue() && w.state.Failures() == failures && w.state.Due() != before {
		x.breaks("edits", "an edit moves the next attempt after a failure")
	}
}

// create is a request that reaches the API server. Others of the volume that are open are
// deleted before, as package issuance does it.
func (x *step) create() {
	w := &x.w
	if w.find(w.issuing.number) != nil {
		return
	}
	for i := mostRequests - 1; i >= 0; i-- {
		if r := w.requests[i]; r.number != 0 && r.decision == undecided {
			if !r.discard {
				x.breaks("one open request", "a request is made while %s is open", requestName(r.number))
			}
			w.drop(r.number)
		}
	}
	for i := range w.requests {
		if w.requests[i].number == 0 {
			w.requests[i] = request{number: w.issuing.number, order: w.issuing.order}
			return
		}
	}
}

// collect is the end of an issuance whose request was decided on.
func (x *step) collect() {
	w := &x.w
	r := w.find(w.issuing.number)
	switch {
	case r == nil:
		x.refused(lifecycle.Rejected, "deleted")
	case r.decision == denied:
		x.refused(lifecycle.Rejected, "denied")
	default:
		w.issued = files{there: true, number: r.number, svid: r.svid, order: r.order}
		w.issuing = issuance{}
		svid := w.issued.toSVID()
		// What the driver rightly does not use, it must not keep.
		if now := w.time(); svid.IsStale(now) || svid.Unusable(now) != nil {
			w.pending.refused = true
		}
		x.take(lifecycle.Issued{SVID: svid})
	}
}

func (x *step) refused(reason lifecycle.Reason, what string) {
	w := &x.w
	err := &failure{what, w.attempt, w.issuing.order}
	cleared := what == "quota exceeded" && w.requests[0].number == 0
	w.issuing = issuance{}
	if reason != lifecycle.Unavailable && reason != lifecycle.Cancelled {
		w.pending.refused = true
	}
	x.take(lifecycle.Refused{Reason: reason, Err: err, Cleared: cleared})
}

// start is a process that takes over what is on disk, as the package manager does.
func (x *step) start() {
	w := &x.w
	w.up, w.state = true, lifecycle.State{ID: volumeID}
	mounted := w.mounts[0] == own || w.mounts[1] == own
	for i := range w.requests { // those that no volume wants are deleted after a while
		w.requests[i].discard = w.requests[i].number != 0
	}
	if !w.files.there && !w.hasMeta && !w.pending.there {
		if mounted {
			x.take(lifecycle.Damaged{})
		}
		return
	}
	e := lifecycle.Recovered{}
	if w.pending.there {
		e.Open = lifecycle.Open{Request: requestName(w.pending.number), Order: w.pending.order.real()}
		if x.happens(olderVersion) {
			e.Open.Order.Pod.ServiceAccount = "" // which was not noted
		}
	}
	live := w.files.there && !w.files.damaged && w.hasMeta
	if live {
		v := w.meta
		v.NotBefore, v.NotAfter, v.Content = epoch.Add(w.files.svid.from), epoch.Add(w.files.svid.until), w.files.content
		if w.pending.there && w.pending.number == w.files.number {
			e.SameKey = true
			if v.Request != e.Open.Request {
				v.Obtained = time.Time{}
			}
		}
		if v.Obtained.IsZero() || v.IsFromTheFuture(w.time()) {
			v.Obtained = w.time()
			if w.files.written < w.now {
				v.Obtained = epoch.Add(w.files.written)
			}
		}
		for t := range w.mounts {
			w.claimed[t] = w.mounts[t] == own && v.Target == targetNames[t]
			e.Sure = e.Sure || w.claimed[t]
		}
		e.Volume, e.HasVolume = v, true
	}
	if !live && mounted {
		e.Damaged = true
		for t := range w.mounts {
			w.claimed[t] = w.mounts[t] == own
		}
	}
	x.take(e)
	if w.up {
		w.changed = true
	}
}
