// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import "github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"

// In the end all is well: from each world that was found, if nothing fails any more, the
// volume is in its pod with a good SVID, or gone, and time does not change that.

// restTicks is for how long a world is followed: for more than a lifetime.
const restTicks = 16

// calm is what may still happen when nothing fails any more.
var calm = budget{publishes: 1, unpublishes: 1, retargets: 1, moments: 1}

// mostSteps bounds how long it takes until all is well.
const mostSteps = 400

// follow follows a world until all rests, unless that is known of it.
func (s *search) follow(w world) (broken *violation) {
	w.begin()
	if _, known := s.good[s.hash(&w)]; known {
		return nil
	}
	s.x.w = w
	s.x.broken = nil
	return s.lead(&s.x)
}

// begin makes a world one in which nothing fails from now on.
func (w *world) begin() {
	w.left = calm
	w.left.ticks = restTicks
	w.owes = w.goal
}

// lead makes what happens in a world in which nothing fails, until all rests.
func (s *search) lead(x *step) (broken *violation) {
	s.way = s.way[:0]
	x.w.begin()
	for range mostSteps {
		hash := s.hash(&x.w)
		if _, known := s.good[hash]; known {
			break
		}
		s.way = append(s.way, hash)
		m, ok := x.w.next()
		if !ok {
			x.rests()
			if x.broken != nil {
				return x.broken
			}
			if x.w.left.ticks == 0 {
				break
			}
			m = move{kind: passTick}
		}
		if s.moved != nil {
			s.moved(m)
		}
		ticks, w := x.w.left.ticks, x.w
		w.left = calm
		w.left.ticks = ticks
		x.make(&w, m)
		if m.kind == passTick {
			ticks--
			x.w.owes = x.w.goal
		}
		x.w.left = calm
		x.w.left.ticks = ticks
		if x.broken != nil {
			return x.broken
		}
	}
	if len(s.way) == mostSteps {
		return &violation{"served in the end", "nothing fails any more, and the volume does not come to rest"}
	}
	for _, hash := range s.way {
		s.good[hash] = struct{}{}
	}
	return nil
}

// next is what happens next in a world in which nothing fails. It returns false if nothing
// does but that time passes.
func (w *world) next() (move, bool) {
	for _, kind := range []kind{start, clockSet, changed, end, ask, create, sign, collect, keeper, contentDue, due} {
		if kind == due && w.goal && w.state.Due().After == lifecycle.UnaskedAge {
			continue // the kubelet asks before
		}
		if m := (move{kind: kind}); w.can(m) {
			return m, true
		}
	}
	if m := (move{kind: timer, arg: uint8(lifecycle.RetryTimer)}); w.can(m) {
		return m, true
	}
	if m, ok := w.nextOfKubelet(); ok {
		return m, true
	}
	if w.timers[lifecycle.ValidityTimer] {
		if w.issued.svid.from > w.now && w.state.IsWaiting() {
			return move{kind: passMoment}, true
		}
		return move{kind: timer, arg: uint8(lifecycle.ValidityTimer)}, true
	}
	for t := range w.timers {
		if w.timers[t] {
			return move{kind: timer, arg: uint8(t)}, true
		}
	}
	return move{}, false
}

// nextOfKubelet is what the kubelet does next: it publishes the volume until it is there, and
// at times again, and unpublishes it until it is gone.
func (w *world) nextOfKubelet() (move, bool) {
	if w.asks() || w.unpublishing() {
		return move{}, false // it waits for the answer
	}
	if v, ok := w.state.Volume(); ok && v.PodUID != pods[0].UID {
		w.goal = false // the pod of the first publish is another one
	}
	switch {
	case w.goal && w.owes:
		return move{kind: publish}, true
	case w.goal:
		return move{}, false
	}
	for t, m := range w.mounts {
		if m != nothing {
			return move{kind: unpublish, arg: uint8(t)}, true
		}
	}
	if !w.gone {
		return move{kind: unpublish}, true
	}
	return move{}, false
}

// rests checks a world in which nothing goes on.
func (x *step) rests() {
	w := &x.w
	for i := range w.calls {
		if w.calls[i].id != 0 {
			x.breaks("answered once", "a call is never answered")
		}
	}
	for i := range w.requests {
		if r := &w.requests[i]; r.number != 0 && !w.isWanted(r.number) {
			x.breaks("nothing left", "request %s stays, and the volume does not want it", requestName(r.number))
		}
	}
	if !w.goal {
		x.isGone()
		return
	}
	const settled = 4 // what was signed for later is in use by then
	if w.left.ticks > settled {
		return
	}
	want := w.desired()
	phase, _ := w.state.Issuance()
	switch now := w.time(); {
	case w.mounts[0] != own || !w.whole():
		x.breaks("served in the end", "the volume is not in its pod")
	case !now.Before(w.meta.NotAfter):
		x.breaks("served in the end", "the SVID of the pod has expired")
	case w.meta.Identity != want.Identity:
		x.breaks("served in the end", "the SVID is not what is wanted")
	case w.files.content != want.Content:
		x.breaks("served in the end", "the files beside the SVID are not what is wanted")
	case w.pending.there && phase != lifecycle.Held && w.pending.order.policy != w.want.policy: // else it is for the next renewal
		x.breaks("no key forgotten", "a request is kept that nothing comes from")
	}
}

// isGone: "nothing left after unpublish".
func (x *step) isGone() {
	w := &x.w
	switch {
	case w.files.there || w.hasMeta || w.pending.there:
		x.breaks("nothing left", "the volume is gone, and its folder is there")
	case w.mounts != [2]mount{}:
		x.breaks("nothing left", "the volume is gone, and it is mounted")
	case w.left.ticks > 0: // what goes on will show
	case !w.state.IsEmpty():
		x.breaks("nothing left", "the volume is gone, and something goes on")
	case w.requests[0].number != 0:
		x.breaks("nothing left", "the volume is gone, and a request is there")
	}
}
