// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrUnpublished is why something ends when its volume is unpublished.
	ErrUnpublished = errors.New("the volume was unpublished")
	// ErrReplaced is why a request ends that was made for something else than what is
	// wanted now.
	ErrReplaced = errors.New("another request has taken its place")
	// ErrUnasked is why a request ends that nobody has asked for any more.
	ErrUnasked = errors.New("nobody asks for the volume any more")
	// ErrWrongPod means that a volume is that of another pod.
	ErrWrongPod = errors.New("the ServiceAccount token is not of the pod that the volume is for")
	// ErrTooSlow is why an attempt to renew fails that has taken driver.publishTimeout. Its
	// request goes on.
	ErrTooSlow = errors.New("it takes longer than driver.publishTimeout")
)

// UnaskedAge is after how long a request for an unpublished volume is given up. The kubelet
// asks every two minutes or so for as long as there is the pod.
const UnaskedAge = 10 * time.Minute

// keepError is for how long a failure is told to the next call, if nobody was there.
const keepError = time.Minute

// Next is the whole life of a volume. It takes what has happened into the state, and
// returns the state that follows and what is to be done, in order. It decides, and does
// nothing: now is the wall clock, and no other state than s is read or written.
func Next(now time.Time, want Desired, s State, e Event) (State, []Action) {
	m := &machine{State: s.clone(), now: now.Round(0), want: want}
	m.take(e)
	for !m.doing && m.advance() {
	}
	return m.State, m.actions
}

// machine is one step of Next. It has the state that comes of it.
type machine struct {
	State

	now     time.Time
	want    Desired
	actions []Action
}

// do adds an action.
func (m *machine) do(a Action) { m.actions = append(m.actions, a) }

// await adds an action that has a result. Nothing else is decided before that is known.
func (m *machine) await(a Action) {
	m.do(a)
	m.doing = true
}

// take takes an event into the state. What follows from the new state is left to advance.
func (m *machine) take(e Event) {
	switch e := e.(type) {
	case Publish:
		m.takePublish(e)
	case Unpublish:
		m.calls = append(m.calls, call{id: e.Call, unpublish: true, target: e.Target})
	case CallEnded:
		m.takeCallEnded(e)
	case Inspected, Prepared, Wrote, Mounted, Undone, Removed:
		m.doing = false
		m.takeResult(e)
	case Reached:
		m.takeReached(e.Progress)
	case Issued:
		m.takeIssued(e)
	case Refused:
		m.takeRefused(e)
	default:
		m.takeTime(e)
	}
}

// takeResult is take for the results of actions.
func (m *machine) takeResult(e Event) {
	switch e := e.(type) {
	case Inspected:
		m.takeInspected(e)
	case Prepared:
		m.takePrepared(e)
	case Wrote:
		m.takeWrote(e)
	case Mounted:
		m.takeMounted(e)
	case Undone:
		m.takeUndone(e)
	case Removed:
		m.takeRemoved(e)
	}
}

// takeTime is take for events of time and of the world around.
func (m *machine) takeTime(e Event) {
	switch e := e.(type) {
	case Due:
		m.takeDue(e)
	case ContentDue:
		m.takeContentDue()
	case Elapsed:
		m.takeElapsed(e.Timer)
	case Changed:
		m.takeChanged()
	case ClockSet:
		m.takeClockSet()
	case Damaged:
		m.damaged = true
	case Broken:
		m.takeBroken()
	case Recovered:
		m.takeRecovered(e)
	}
}

// takeElapsed takes the end of a timer. One that was stopped meanwhile counts for nothing.
func (m *machine) takeElapsed(t Timer) {
	if !m.armed[t] {
		return
	}
	m.armed[t] = false
	switch t {
	case RetryTimer:
		switch {
		case m.issuance.phase != BackingOff:
		case m.issuance.order.Pod != m.pod: // there is no token of that pod any more
			m.abandon(ErrReplaced)
		default:
			m.issuance.phase = Running
			m.do(Issue{m.issuance.order})
		}
	case RenewalTimer:
		if m.renewal.active {
			m.renewalFailed(ErrTooSlow)
		}
	case SlotTimer:
		m.renewal.slot = false
	case FailedTimer:
		m.dropIssuance(false)
	case ValidityTimer, timers: // advance looks again
	}
}

func (m *machine) arm(t Timer, d time.Duration) {
	m.armed[t] = true
	m.do(Arm{t, d})
}

func (m *machine) disarm(t Timer) {
	if m.armed[t] {
		m.armed[t] = false
		m.do(Disarm{t})
	}
}

// advance does the next thing that the state asks for, and reports whether there may be
// more. The order is that of the volume's interest: a volume that is unpublished is
// destroyed before anything else, and calls are answered before SVIDs are obtained.
func (m *machine) advance() (more bool) {
	if i := m.firstUnpublish(); i >= 0 {
		return m.advanceUnpublish(m.calls[i])
	}
	for _, c := range m.calls {
		switch c.phase {
		case fails:
			m.await(Undo{Call: c.id, Target: c.target, Files: !m.hasVolume})
			return false
		case arrived:
			m.takeToken(c)
			m.await(Inspect{
				Call: c.id, Target: c.target, Published: m.hasVolume && m.volume.Target == c.target,
				Read: m.hasVolume && m.now.Before(m.volume.NotAfter),
			})
			return false
		case remounts:
			m.await(Mount{c.id, c.target})
			return false
		case waits:
			// An SVID is only ever delivered to the pod that it is for.
			if m.hasVolume && m.volume.PodUID != c.pod.UID {
				m.fail(c.id, wrongPod(m.volume.PodUID))
				return true
			}
			if c.pod != m.pod {
				m.fail(c.id, wrongPod(m.pod.UID))
				return true
			}
		}
	}
	return m.advanceIssuance()
}

func wrongPod(uid string) error {
	return fmt.Errorf("%w: it is published for the pod with UID %s", ErrWrongPod, uid)
}
