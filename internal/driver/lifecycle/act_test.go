// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"errors"
	"fmt"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
)

// pick is what else than usual happens in a step: at the nth time that it may, if n is not 0.
type pick struct {
	what what
	n    uint8
}

// what may happen to an action.
type what uint8

const (
	usual what = iota
	inspectFails
	noRoom
	diskFull
	metadataFails
	contentTooLarge
	mountFails
	unmountFails
	removeFails
	olderVersion
	// The process is killed right after something was done. All after the first are such.
	killedPrepared
	killedClosed
	killedFiles
	killedMetadata
	killedMounted
	killedUndone
	killedEmptied
	killedUnmounted
	killedRemoved
	whats
)

var whatNames = [whats]string{
	"", "inspect fails", "no room", "disk full", "metadata fail", "content too large", "mount fails", "unmount fails", "remove fails",
	"by a request of an earlier version",
	"killed after the request is kept", "killed after the request's file is deleted", "killed after files are written",
	"killed after metadata are written", "killed after the mount", "killed after a mount is undone",
	"killed after files are undone", "killed after the unmount", "killed after all is removed",
}

// step is one step of a world: a move, and all that the driver does because of it.
type step struct {
	w      world
	pick   pick
	points []pick
	counts [whats]uint8
	// event is the one that the driver follows now, was the state before, and actions counts
	// what it has done.
	event   lifecycle.Event
	was     lifecycle.State
	actions int
	log     func(lifecycle.Action)
	broken  *violation
}

// violation is a promise that was broken.
type violation struct{ promise, how string }

func (v *violation) String() string { return v.promise + ": " + v.how }

// breaks notes that a promise is broken. Only the first counts.
func (x *step) breaks(promise, format string, args ...any) {
	if x.broken == nil {
		x.broken = &violation{promise, fmt.Sprintf(format, args...)}
	}
}

// happens reports whether something that may happen does, and notes that it may. What has
// failed once fails until the end of the step.
func (x *step) happens(k what) bool {
	l := &x.w.left
	left := &l.diskFaults
	kills := k >= killedPrepared
	if kills {
		left = &l.crashes
	}
	x.counts[k]++
	here := pick{k, x.counts[k]}
	if x.pick.what == k && (x.pick.n == here.n || x.pick.n < here.n && !kills) {
		if x.pick.n == here.n && *left > 0 {
			*left--
		}
		return true
	}
	if x.pick.what == usual && *left > 0 && x.broken == nil {
		x.points = append(x.points, here)
	}
	return false
}

// killed reports whether the process is killed now.
func (x *step) killed(after what) bool {
	if x.happens(after) {
		x.die()
		return true
	}
	return false
}

// die is a process that was killed: what is in memory is lost, and the kubelet's calls end.
func (x *step) die() {
	w := &x.w
	w.up, w.state, w.timers, w.changed, w.clockSet = false, lifecycle.State{}, [lifecycle.Timers]bool{}, false, false
	w.issuing, w.issued, w.claimed, w.token = issuance{}, files{}, [2]bool{}, 0
	w.calls = [mostCalls]call{}
	for i := range w.requests {
		w.requests[i].discard = false
	}
}

// mostActions bounds what follows from one event.
const mostActions = 60

// take has the driver take an event, and do all that follows from it.
func (x *step) take(e lifecycle.Event) {
	w := &x.w
	for e != nil {
		x.event, x.was = e, w.state
		var actions []lifecycle.Action
		w.state, actions = lifecycle.Next(w.time(), w.desired(), w.state, e)
		e = nil
		for i, a := range actions {
			if x.log != nil {
				x.log(a)
			}
			x.actions++
			e = x.act(a)
			if !w.up {
				return
			}
			if e != nil && i < len(actions)-1 {
				x.breaks("in order", "%T is not the last action of its step", a)
			}
		}
		if e == nil && w.state.IsDoing() {
			x.breaks("in order", "a result is waited for, and none comes")
		}
		if x.actions > mostActions {
			x.breaks("bounded", "one event is followed by ever more actions")
		}
		if x.broken != nil {
			return
		}
	}
}

// act carries out an action as the package manager does, and returns its result.
func (x *step) act(a lifecycle.Action) lifecycle.Event { //nolint:gocyclo // One case for each action.
	w := &x.w
	switch a := a.(type) {
	case lifecycle.Inspect:
		return x.inspect(a)
	case lifecycle.Prepare:
		return x.prepare(a)
	case lifecycle.Write:
		return x.write(a)
	case lifecycle.Rewrite:
		return x.rewrite()
	case lifecycle.Mount:
		return x.mount(a)
	case lifecycle.Undo:
		return x.undo(a)
	case lifecycle.Remove:
		return x.remove(a)
	case lifecycle.Begin:
		x.beginsInNeed(a)
	case lifecycle.Issue:
		x.issue(a)
	case lifecycle.Abandon:
		x.abandonsWithReason(a)
		w.issuing.cancelled = true
		w.pending.abandoned = true
	case lifecycle.Close:
		x.close(a)
	case lifecycle.Retire:
		x.retire()
	case lifecycle.Correct:
		if x.happens(metadataFails) {
			break
		}
		w.meta, w.hasMeta = a.Volume, true
		x.killed(killedMetadata)
	case lifecycle.Reply:
		x.reply(a)
	case lifecycle.Arm:
		w.timers[a.Timer] = true
	case lifecycle.Disarm:
		w.timers[a.Timer] = false
	case lifecycle.Tell:
		if a.Note == lifecycle.NoteDisowned {
			w.disowned = true
		}
	}
	return nil
}

// failure is an error that knows which attempt it is of.
type failure struct {
	what    string
	attempt int
	order   order
}

func (f *failure) Error() string { return fmt.Sprintf("%s (attempt %d)", f.what, f.attempt) }

func (x *step) fails(what string) error {
	return &failure{what: what, attempt: x.w.attempt}
}

var errGivenUp = errors.New("the kubelet has given up")

// errKey is what makes errors differ in what follows from them.
func errKey(err error, attempt int) byte {
	var f *failure
	var early *lifecycle.NotYetValidError
	var bad *lifecycle.UnusableError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &f):
		return byte(min(attempt-f.attempt, 2)) | 8
	case errors.As(err, &early):
		return 1
	case errors.As(err, &bad):
		return 2
	case errors.Is(err, lifecycle.ErrUnpublished):
		return 3
	case errors.Is(err, lifecycle.ErrWrongPod):
		return 4
	case errors.Is(err, lifecycle.ErrTooSlow):
		return 5
	case errors.Is(err, errGivenUp):
		return 6
	}
	return 7
}

func (x *step) inspect(a lifecycle.Inspect) lifecycle.Event {
	w := &x.w
	c := w.call(a.Call)
	t := targetIndex(a.Target)
	if c == nil {
		x.breaks("answered once", "a target is inspected for a call that was answered")
		return lifecycle.Inspected{}
	}
	w.token = c.pod + 1
	if a.Published && w.mounts[t] == own {
		return lifecycle.Inspected{Published: true}
	}
	if x.happens(inspectFails) {
		return lifecycle.Inspected{Err: x.fails("inspect fails")}
	}
	w.claimed[t] = true
	c.inspected, c.before = true, w.mounts[t]
	if a.Read && w.whole() {
		return lifecycle.Inspected{Whole: true}
	}
	if x.happens(noRoom) {
		return lifecycle.Inspected{NoRoom: x.fails("no room")}
	}
	return lifecycle.Inspected{}
}

func targetIndex(target string) uint8 {
	if target == targetNames[1] {
		return 1
	}
	return 0
}

func (x *step) prepare(a lifecycle.Prepare) lifecycle.Event {
	w := &x.w
	x.staysGone("a key is made")
	x.requestsInNeed(a.Order)
	w.attempt++
	if x.happens(diskFull) {
		return lifecycle.Prepared{Err: &failure{"disk full", w.attempt, orderOf(a.Order)}}
	}
	w.made++
	w.pending = pending{there: true, number: w.made, order: orderOf(a.Order)}
	if x.killed(killedPrepared) {
		return nil
	}
	return lifecycle.Prepared{Request: requestName(w.made)}
}

func (x *step) issue(a lifecycle.Issue) {
	w := &x.w
	if w.issuing.running {
		x.breaks("one issuance", "an issuance begins while another is going on")
	}
	x.staysGone("a request is made")
	x.asksForWhatIsKept(a.Order)
	w.attempt++
	w.issuing = issuance{running: true, number: w.pending.number, order: orderOf(a.Order)}
	if !w.state.IsRenewing() { // that the API server is being asked matters to a slot only
		w.issuing.stage = 1
	}
}

// close deletes the request's file and leaves the rest to who deletes requests.
func (x *step) close(a lifecycle.Close) {
	w := &x.w
	x.closesWithReason(a)
	w.pending = pending{}
	if x.killed(killedClosed) {
		return
	}
	if a.Discard {
		if r := w.find(requestNumber(a.Open.Request)); r != nil {
			r.discard = true
		}
	}
}

// retire has what is not wanted of earlier requests deleted.
func (x *step) retire() {
	w := &x.w
	for i := range w.requests {
		if r := &w.requests[i]; r.number != 0 && !w.isWanted(r.number) {
			r.discard = true
		}
	}
}

func (x *step) write(a lifecycle.Write) lifecycle.Event {
	w := &x.w
	x.staysGone("files are written")
	x.writesGood(a)
	// The volume is that of a call, or the one that there is.
	meta, has := w.state.Volume()
	if c := w.call(a.Call); c != nil {
		meta = lifecycle.Volume{PodUID: pods[c.pod].UID, Target: targetNames[c.target]}
	} else if !has {
		x.breaks("stays gone", "a renewal writes files, and there is no volume")
	}
	content := contents[w.want.content]
	if has && x.happens(contentTooLarge) {
		content = w.files.content
	}
	if x.happens(diskFull) {
		return lifecycle.Wrote{Err: x.fails("disk full")}
	}
	w.files = files{
		there: true, number: w.issued.number, svid: w.issued.svid, order: w.issued.order, content: content, written: w.now,
	}
	if x.killed(killedFiles) {
		return nil
	}
	if x.happens(metadataFails) {
		return lifecycle.Wrote{Err: x.fails("metadata fail")}
	}
	meta.SVID, meta.Content, meta.EarlyRenewals = w.issued.toSVID(), content, a.EarlyRenewals
	if meta.IsFromTheFuture(w.time()) {
		meta.Obtained = w.time()
	}
	w.meta, w.hasMeta = meta, true
	if x.killed(killedMetadata) {
		return nil
	}
	return lifecycle.Wrote{Volume: meta, InPod: a.Call == 0 && w.mounts[targetIndex(meta.Target)] == own}
}

func (x *step) rewrite() lifecycle.Event {
	w := &x.w
	x.staysGone("files are written anew")
	if !w.files.there || w.files.damaged {
		return lifecycle.Wrote{Err: x.fails("files damaged")}
	}
	if x.happens(diskFull) {
		return lifecycle.Wrote{Err: x.fails("disk full")}
	}
	w.files.content = contents[w.want.content]
	if x.killed(killedFiles) {
		return nil
	}
	v, _ := w.state.Volume()
	v.Content = w.files.content
	w.meta, w.hasMeta = v, true
	if x.killed(killedMetadata) {
		return nil
	}
	return lifecycle.Wrote{Volume: v}
}

func (x *step) mount(a lifecycle.Mount) lifecycle.Event {
	w := &x.w
	x.staysGone("it is mounted")
	x.mountsWhole(a)
	if x.happens(mountFails) {
		return lifecycle.Mounted{Err: x.fails("mount fails")}
	}
	w.mounts[targetIndex(a.Target)] = own
	if x.killed(killedMounted) {
		return nil
	}
	return lifecycle.Mounted{}
}

func (x *step) undo(a lifecycle.Undo) lifecycle.Event {
	w := &x.w
	c, t := w.call(a.Call), targetIndex(a.Target)
	if c == nil {
		x.breaks("answered once", "a call is undone that was answered")
		return lifecycle.Undone{}
	}
	if a.Files && c.inspected {
		if c.before != own && w.mounts[t] == own {
			x.unmounts(t)
			w.mounts[t] = c.before
			if x.killed(killedUndone) {
				return nil
			}
		}
		if c.before == nothing && (!w.claimed[0] || !w.claimed[1]) {
			x.empties()
			w.files, w.hasMeta, w.meta = files{}, false, lifecycle.Volume{}
			if x.killed(killedEmptied) {
				return nil
			}
		}
	}
	if w.mounts[t] != nothing {
		return lifecycle.Undone{InPod: true}
	}
	v, has := w.state.Volume()
	release := c.inspected && (!has || v.Target != a.Target)
	for i := range w.calls { // another call may be about to mount there
		o := &w.calls[i]
		release = release && (o == c || o.id == 0 || !o.inspected || o.target != t)
	}
	if release {
		w.claimed[t] = false
	}
	return lifecycle.Undone{}
}

func (x *step) remove(a lifecycle.Remove) lifecycle.Event {
	w := &x.w
	if c := w.call(a.Call); c == nil || !c.unpublish {
		x.breaks("never unmounted", "a volume is removed, and no call asks for it")
	}
	if w.issuing.running {
		x.breaks("stays gone", "the volume is removed while an issuance is going on")
	}
	if x.happens(unmountFails) {
		return lifecycle.Removed{Err: x.fails("unmount fails")}
	}
	v, has := w.state.Volume()
	for t := range w.mounts {
		if w.claimed[t] || targetNames[t] == a.Target || has && v.Target == targetNames[t] {
			w.mounts[t] = nothing
		}
	}
	if x.killed(killedUnmounted) {
		return nil
	}
	if x.happens(removeFails) {
		return lifecycle.Removed{Err: x.fails("remove fails")}
	}
	w.files, w.hasMeta, w.meta, w.pending, w.claimed = files{}, false, lifecycle.Volume{}, pending{}, [2]bool{}
	w.gone, w.disowned, w.token = true, false, 0
	for i := range w.calls { // a publish that came meanwhile
		w.gone = w.gone && (w.calls[i].id == 0 || w.calls[i].unpublish)
	}
	if x.killed(killedRemoved) {
		return nil
	}
	return lifecycle.Removed{}
}

// reply answers a call of the kubelet.
func (x *step) reply(a lifecycle.Reply) {
	w := &x.w
	c := w.call(a.Call)
	if c == nil {
		x.breaks("answered once", "a call is answered that does not wait")
		return
	}
	x.answersTruly(*c, a.Err)
	if a.Err == nil {
		if c.unpublish {
			w.published[c.target] = false
		} else if !c.given {
			w.published[c.target] = true
		}
	}
	*c = call{}
}
