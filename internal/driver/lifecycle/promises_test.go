// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"errors"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
)

// The promises of CONTRIBUTING.md, as far as one volume is concerned. Those of this file are
// checked while the driver acts; holds checks the others after each step.

// unmounts: "Publish is idempotent. It never unmounts, empties or fails a volume that has
// been published." Only a call to unpublish takes a volume away.
func (x *step) unmounts(t uint8) {
	if x.w.published[t] && !x.w.unpublishing() {
		x.breaks("never unmounted", "the volume is unmounted at %s, where it was published", targetNames[t])
	}
}

// empties: no files go from under a mount.
func (x *step) empties() {
	for t, m := range x.w.mounts {
		if m == own {
			x.breaks("never emptied", "files are removed that are mounted at %s", targetNames[t])
		}
	}
}

// mountsWhole: "A volume is mounted only with a whole SVID in it", and one that the pod can
// begin with.
func (x *step) mountsWhole(a lifecycle.Mount) {
	w := &x.w
	c := w.call(a.Call)
	switch {
	case c == nil:
		x.breaks("answered once", "a volume is mounted for a call that was answered")
	case !w.whole():
		x.breaks("mounted whole", "a volume is mounted without a whole SVID")
	case !w.time().Before(w.meta.NotAfter):
		x.breaks("mounted whole", "a volume is mounted with an SVID that has expired")
	case w.meta.PodUID != pods[c.pod].UID || w.files.order.pod != c.pod:
		x.breaks("own pod", "an SVID of another pod is mounted")
	}
}

// writesGood: "A valid SVID is never replaced by one that is not valid now", an SVID is only
// ever in the pod that it is for, and a container never starts with one that is not valid yet.
func (x *step) writesGood(a lifecycle.Write) {
	w := &x.w
	now := w.time()
	isNew := w.issued.toSVID()
	if !w.issued.there {
		x.breaks("mounted whole", "an SVID is written that was not issued")
		return
	}
	if v, ok := w.state.Volume(); ok {
		if v.IsValid(now) && !isNew.IsValid(now) {
			x.breaks("valid stays", "a valid SVID is replaced by one that is not valid now")
		}
		if pods[w.issued.order.pod].UID != v.PodUID {
			x.breaks("own pod", "an SVID is written into the volume of another pod")
		}
	} else if !isNew.IsValid(now) {
		x.breaks("valid stays", "a volume begins with an SVID that is not valid now")
	}
	if c := w.call(a.Call); c != nil && c.pod != w.issued.order.pod {
		x.breaks("own pod", "an SVID is written for a call of another pod")
	}
}

// staysGone: a volume that was unpublished does not come back without another publish.
func (x *step) staysGone(how string) {
	if x.w.gone {
		x.breaks("stays gone", "the volume was unpublished, and nobody has published it since: %s", how)
	}
}

// beginsInNeed: never two renewals for one due time.
func (x *step) beginsInNeed(a lifecycle.Begin) {
	if a.Purpose == lifecycle.Renewal && !x.isDue() {
		x.breaks("one renewal", "a renewal begins that is not due")
	}
}

// isDue reports whether the volume's SVID is to be replaced, a moment early at most.
func (x *step) isDue() bool {
	w, want := &x.w, x.w.desired()
	v, ok := w.state.Volume()
	if !ok {
		return false
	}
	return !want.Timing.RenewalTime(volumeID, v).After(w.time().Add(time.Second)) ||
		v.Identity != want.Identity || v.Requested > want.Duration
}

// requestsInNeed: "with nothing requested needlessly".
func (x *step) requestsInNeed(o lifecycle.Order) {
	w, want := &x.w, x.w.desired()
	if o.Policy != want.Policy || o.Identity != want.Identity || o.Duration != want.Duration {
		x.breaks("nothing needless", "a request is made under a policy that is not in force")
	}
	if w.pending.there {
		x.breaks("no key forgotten", "a key is made while another is kept")
	}
	x.hasTokenFor(o)
	v, has := w.state.Volume()
	for i := range w.calls {
		c := &w.calls[i]
		// A volume that is whole is only mounted.
		isThere := has && w.whole() && w.time().Before(v.NotAfter) && v.PodUID == o.Pod.UID && w.mounts[c.target] == own
		if c.id != 0 && !c.unpublish && pods[c.pod] == o.Pod && !isThere {
			return
		}
	}
	if !w.state.IsRenewing() || !x.isDue() {
		x.breaks("nothing needless", "a request is made, and nobody needs an SVID")
	}
	if !w.state.HasToken(w.time()) && w.state.Failures() == 0 && w.state.Pod() == (lifecycle.Pod{}) {
		x.breaks("nothing needless", "a request is made without a token")
	}
}

// asksForWhatIsKept: the driver asks for an SVID only by a request whose key is on disk, for
// else a crash would have it asked again.
func (x *step) asksForWhatIsKept(o lifecycle.Order) {
	p := x.w.pending
	open, ok := x.w.state.Open()
	if !ok || !p.there || open.Request != requestName(p.number) {
		x.breaks("no key forgotten", "an SVID is asked for by a request that is not kept")
	}
	if p.order != orderOf(o) {
		x.breaks("own pod", "a request is used for another order than it was made for")
	}
	x.hasTokenFor(o)
}

// hasTokenFor: "A request is approved only if a token bound to a pod made it", and the driver
// asks for a pod with a token of that pod alone.
func (x *step) hasTokenFor(o lifecycle.Order) {
	if t := x.w.token; t == 0 || pods[t-1] != o.Pod {
		x.breaks("own pod", "a request for %s is made with a token of another pod, or none", o.Pod.UID)
	}
}

// closesWithReason: "A request that was under way is picked up, not repeated." A request is
// thrown away only if none needs it, or nothing can come from it.
func (x *step) closesWithReason(a lifecycle.Close) {
	w := &x.w
	p := w.pending
	if !a.Discard {
		if !p.refused && w.files.number != p.number {
			x.breaks("picked up", "a request is forgotten whose SVID is not in the volume")
		}
		return
	}
	if p.number != requestNumber(a.Open.Request) && !w.gone {
		x.breaks("no key forgotten", "a request is closed that is not the one that is kept")
	}
	if svid := w.issued.toSVID(); w.issued.number == p.number && (svid.IsStale(w.time()) || svid.Unusable(w.time()) != nil) {
		return // it has waited for too long
	}
	if p.there && !p.refused && !p.abandoned && x.isStillWanted(p.order) {
		x.breaks("picked up", "a request is thrown away that would bring what is wanted")
	}
}

// abandonsWithReason is closesWithReason for the issuance.
func (x *step) abandonsWithReason(lifecycle.Abandon) {
	if p := x.w.pending; p.there && !p.refused && x.isStillWanted(p.order) {
		x.breaks("picked up", "an issuance is ended that would bring what is wanted")
	}
}

// isStillWanted reports whether a request of an order would serve somebody.
func (x *step) isStillWanted(o order) bool {
	w := &x.w
	want := w.desired()
	of := o.real()
	if w.unpublishing() || of.Policy != want.Policy || of.Pod != w.state.Pod() {
		return false
	}
	if v, ok := w.state.Volume(); ok && v.PodUID != of.Pod.UID {
		return false
	}
	return w.asks() || w.state.IsRenewing() || x.was.IsRenewing()
}

// answersTruly: each call is told what becomes of it, and of the present attempt. A volume
// that is in its pod is never failed.
func (x *step) answersTruly(c call, err error) {
	w := &x.w
	var f *failure
	switch {
	case err == nil && c.unpublish:
		if w.files.there || w.pending.there || w.hasMeta {
			x.breaks("nothing left", "an unpublish succeeds, and something is left")
		}
		if w.mounts[c.target] != nothing {
			x.breaks("nothing left", "an unpublish succeeds, and the volume is mounted")
		}
		return
	case err == nil:
		if w.mounts[c.target] == nothing {
			x.breaks("answered truly", "a publish succeeds, and nothing is mounted")
		}
		if w.mounts[c.target] == own && w.meta.PodUID != pods[c.pod].UID && w.hasMeta && !w.files.damaged && !w.disowned {
			x.breaks("own pod", "a publish succeeds with the volume of another pod")
		}
		return
	case errors.Is(err, errGivenUp):
		if !c.given {
			x.breaks("answered truly", "a call fails because another was given up")
		}
	case errors.Is(err, lifecycle.ErrUnpublished):
		if !w.unpublishing() && !w.gone {
			x.breaks("answered truly", "a call fails because of an unpublish that is not there")
		}
	case errors.As(err, &f):
		if f.attempt < w.attempt {
			x.breaks("present cause", "a call is told why attempt %d failed, and attempt %d has begun since", f.attempt, w.attempt)
		}
		if want := w.desired(); f.order.set && f.order.real().Policy != want.Policy {
			x.breaks("present cause", "a call is told why a request failed that is not what is wanted")
		}
	}
	v, has := w.state.Volume()
	if !c.unpublish && !c.given && !w.unpublishing() && has && v.PodUID == pods[c.pod].UID && v.Target == targetNames[c.target] && w.published[c.target] && w.mounts[c.target] == own && !errors.Is(err, lifecycle.ErrWrongPod) {
		x.breaks("never failed", "a publish fails for a volume that is in its pod: %v", err)
	}
}

// holds checks what must be so after each step.
func (x *step) holds() {
	w := &x.w
	if x.broken != nil {
		return
	}
	x.mountsAreWhole()
	if !w.up {
		return
	}
	x.isKnown()
	x.oneOpenRequest()
	x.diskIsKnown()
	x.nothingForgotten()
	x.timersMatter()
	x.slotIsUsed()
	x.emptyIsEmpty()
}

// mountsAreWhole: a volume that is mounted has its files, unless somebody else has taken
// them, and they are of the pod that it is mounted in.
func (x *step) mountsAreWhole() {
	w := &x.w
	for t, m := range w.mounts {
		if m != own {
			continue
		}
		if !w.files.there {
			x.breaks("mounted whole", "the volume is mounted at %s without files", targetNames[t])
		}
	}
}

// isKnown: each call that waits is known to the driver.
func (x *step) isKnown() {
	waiting := 0
	for i := range x.w.calls {
		if x.w.calls[i].id != 0 {
			waiting++
		}
	}
	if n := x.w.state.Calls(); n != waiting {
		x.breaks("answered once", "%d calls wait, and %d are known", waiting, n)
	}
}

// oneOpenRequest: "A volume has at most one request that is open, whatever happens." The
// others are about to be deleted.
func (x *step) oneOpenRequest() {
	w := &x.w
	for i := range w.requests {
		r := &w.requests[i]
		isKept := w.pending.there && w.pending.number == r.number
		if r.number != 0 && r.decision == undecided && !r.discard && !isKept {
			x.breaks("one open request", "request %s is open, and nobody knows it", requestName(r.number))
		}
	}
}

// diskIsKnown: what is kept is what is known. A key is never kept without that.
func (x *step) diskIsKnown() {
	w := &x.w
	open, ok := w.state.Open()
	if ok != w.pending.there || ok && open.Request != requestName(w.pending.number) {
		x.breaks("no key forgotten", "kept is request %q, known is %q", requestName(w.pending.number), open.Request)
	}
	v, ok := w.state.Volume()
	switch {
	case !ok:
	case !w.hasMeta && !w.gone:
		x.breaks("no volume forgotten", "volume %s is known that is not there", v.Request)
	case v.IsFromTheFuture(w.time()) && !w.clockSet:
		x.breaks("lifetime", "a lifetime begins in the future, and the renewal comes too late")
	}
}

// nothingForgotten: a volume that is published is renewed, and one that nobody asks for is
// given up.
func (x *step) nothingForgotten() {
	w := &x.w
	s := &w.state
	if w.unpublishing() {
		return
	}
	_, has := s.Volume()
	phase, _ := s.Issuance()
	switch {
	case has && !s.Due().Set && !s.IsRenewing() && !s.NeedsToken():
		x.breaks("no volume forgotten", "a volume is published, and no renewal is planned")
	case !has && s.Calls() == 0 && (w.pending.there || phase != lifecycle.Idle && phase != lifecycle.Failed) && !s.Due().Set && phase != lifecycle.Cancelling:
		x.breaks("no key forgotten", "nobody asks for the volume, and its request is never given up")
	}
	if outdated, _ := s.IsOutdated(); outdated && !s.ContentDue().Set {
		x.breaks("no volume forgotten", "the volume has old files, and nothing is planned")
	}
	if v, ok := s.Volume(); ok && !w.changed && v.Content != w.desired().Content && !s.ContentDue().Set {
		x.breaks("no volume forgotten", "the volume has not what is wanted, and nothing is planned")
	}
}

// timersMatter: timers run only while their end would matter, and whatever waits for one has
// one that runs.
func (x *step) timersMatter() {
	s := &x.w.state
	phase, _ := s.Issuance()
	for t := range lifecycle.Timers {
		if s.IsArmed(t) != x.w.timers[t] {
			x.breaks("timers", "timer %d is known as %t, and is %t", t, s.IsArmed(t), x.w.timers[t])
		}
	}
	if s.IsArmed(lifecycle.RetryTimer) != (phase == lifecycle.BackingOff) {
		x.breaks("timers", "the timer to try again does not fit the phase %d", phase)
	}
	if s.IsArmed(lifecycle.RenewalTimer) != s.IsRenewing() {
		x.breaks("timers", "the timer of a renewal does not fit it")
	}
	if s.IsArmed(lifecycle.SlotTimer) && !s.HoldsSlot() {
		x.breaks("timers", "the timer of a slot runs, and there is none")
	}
	if s.IsArmed(lifecycle.ValidityTimer) && phase != lifecycle.Held {
		x.breaks("timers", "the timer of validity runs in phase %d", phase)
	}
	if s.IsArmed(lifecycle.FailedTimer) && phase != lifecycle.Failed || phase == lifecycle.Failed && !s.IsArmed(lifecycle.FailedTimer) {
		x.breaks("timers", "the timer of a failure does not fit the phase %d", phase)
	}
}

// slotIsUsed: a renewal holds its slot for as long as there is work for it, and while it
// waits for others only for so long.
func (x *step) slotIsUsed() {
	s := &x.w.state
	if !s.HoldsSlot() || x.w.unpublishing() {
		return
	}
	phase, _ := s.Issuance()
	if phase == lifecycle.Running && s.Failures() > 0 && s.Progress() == lifecycle.Created {
		x.breaks("slot", "a renewal waits for others, holds its slot, and has failed before")
	}
	if phase == lifecycle.BackingOff && s.Progress() != lifecycle.Created {
		x.breaks("slot", "a renewal that waits for a quota holds its slot as if it worked")
	}
	if phase == lifecycle.Running && s.Progress() == 0 || phase == lifecycle.Cancelling { // the driver's own watch; RenewalTimer bounds it
		return
	}
	if !s.IsArmed(lifecycle.SlotTimer) {
		x.breaks("slot", "a renewal that waits for others (phase %d) holds its slot without end", phase)
	}
}

// emptyIsEmpty: of a volume that is not known any more nothing is left.
func (x *step) emptyIsEmpty() {
	w := &x.w
	if !w.state.IsEmpty() {
		return
	}
	if w.issuing.running || w.pending.there {
		x.breaks("nothing left", "nothing is known of the volume, and there is a request")
	}
	for t, is := range w.timers {
		if is {
			x.breaks("nothing left", "nothing is known of the volume, and timer %d runs", t)
		}
	}
}
