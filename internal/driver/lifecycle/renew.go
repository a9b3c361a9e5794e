// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import "time"

const (
	// leastHold and mostHold bound for how long a renewal keeps its slot while it only
	// waits.
	leastHold = time.Second
	mostHold  = 10 * time.Second
)

// takeDue begins an attempt to renew, if the volume is due.
func (m *machine) takeDue(e Due) {
	m.due = Plan{}
	switch {
	case m.IsUnpublishing(): // planned anew if that fails
	case !m.hasVolume:
		m.giveUp()
	case m.renewal.active: // which plans the next one
	case !m.now.Before(m.tokenExpiry):
		m.needsToken = true
		m.do(Tell{Note: NoteNeedsToken})
	case !m.isDue():
		m.plan()
	default:
		m.beginRenewal(e.Since)
	}
}

// giveUp ends what goes on for a volume that is not published, and that nobody has asked
// for in a long time.
func (m *machine) giveUp() {
	if m.anyPublish() || m.issuance.phase == Idle && m.open.Request == "" {
		return
	}
	if m.issuance.phase == Cancelling {
		return
	}
	m.do(Tell{Note: NoteGivenUp})
	if m.issuance.phase == Running || m.issuance.phase == BackingOff {
		m.abandon(ErrUnasked)
		return
	}
	m.dropIssuance(true)
}

// isDue reports whether the SVID is to be replaced now. It is not if that has just happened.
func (m *machine) isDue() bool {
	const margin = time.Second // the two clocks differ a little
	return m.isOutdated() || m.issuance.phase == Held || !m.renewalTime().After(m.now.Add(margin))
}

// beginRenewal begins an attempt to renew a volume that is due since then.
func (m *machine) beginRenewal(since time.Time) {
	m.renewal = renewal{active: true, since: since, slot: true}
	if m.failures > 0 {
		m.do(Tell{Note: NoteRetrying})
	} else {
		// Not where the last attempt has shown that it may take long.
		m.renewal.maxHold = min(max(m.volume.Length()/60, leastHold), mostHold)
	}
	m.arm(RenewalTimer, m.want.PublishTimeout)
	if p := m.issuance.progress; p != 0 && (m.issuance.phase == Running || m.issuance.phase == BackingOff) {
		m.holdSlot(p)
	}
}

// takeReached notes how far the request has come.
func (m *machine) takeReached(p Progress) {
	if m.issuance.phase != Running && m.issuance.phase != BackingOff || p <= m.issuance.progress {
		return
	}
	m.issuance.progress = p
	m.holdSlot(p)
}

// holdSlot bounds for how long a renewal keeps its slot. That is for work, and for waiting
// only while it is short: approver and issuer may be those of one namespace, and so may be
// what the API server does not answer for. While they do not answer, volumes of others must
// have their turn. What waits for the driver's own watch keeps its slot, for so do all.
func (m *machine) holdSlot(p Progress) {
	switch {
	case !m.renewal.active || !m.renewal.slot:
	case p == Asking:
		m.arm(SlotTimer, mostHold)
	case m.renewal.maxHold > 0:
		m.arm(SlotTimer, m.renewal.maxHold)
	default:
		m.disarm(SlotTimer)
		m.renewal.slot = false
	}
}

// endRenewal ends the attempt to renew.
func (m *machine) endRenewal() {
	m.renewal = renewal{}
	m.disarm(RenewalTimer)
	m.disarm(SlotTimer)
}

// renewalFailed puts the renewal off, the longer the more often it has failed. The volume
// keeps what it has.
func (m *machine) renewalFailed(err error) {
	m.endRenewal()
	m.failures++
	wait := backoff(m.failures, firstRetry, min(lastRetry, m.volume.longestRetry(m.now)), m.chance(m.failures))
	m.due = after(wait)
	m.do(Tell{Note: NoteRenewalFailed, Err: err, Failures: m.failures, After: wait})
}

// plan sets when a published volume is due: when its SVID is to be renewed, or within the
// re-issue window if the configuration asks for another one.
func (m *machine) plan() {
	m.needsToken = false
	m.plannedBy = m.want.Timing
	when := m.renewalTime()
	if m.reissue = m.isOutdated(); m.reissue {
		if moment := m.now.Add(part(fraction(m.ID), m.want.ReissueWindow)); moment.Before(when) {
			when = moment
		}
	}
	m.due = at(when)
}

// renewalTime is when the SVID of a published volume is to be renewed.
func (m *machine) renewalTime() time.Time { return m.want.Timing.RenewalTime(m.ID, m.volume) }

// isOutdated reports whether the SVID is not what is wanted. That a shorter lifetime is
// asked for makes it so only if it would outlast a new one; a longer one waits for the next
// renewal. What counts is what was asked for, so that an issuer which signs for something
// else is not asked again and again.
func (m *machine) isOutdated() bool {
	v := m.volume
	return v.Identity != m.want.Identity || v.Requested > m.want.Duration && v.NotAfter.Sub(m.now) > m.want.Duration
}

// earlyAfter is how many renewals come early after the one that replaces the SVID now. One
// that is late waited for what many others have waited for, too.
func (m *machine) earlyAfter() int {
	if m.now.Sub(m.renewalTime()) > m.volume.Length()/10 || m.isOutdated() {
		return earlyRenewals
	}
	return max(0, m.volume.EarlyRenewals-1)
}

// takeChanged follows a change of what is desired.
func (m *machine) takeChanged() {
	if m.issuance.phase != Idle && m.issuance.phase != Cancelling && m.issuance.phase != Failed && m.issuance.order.Policy != m.want.Policy {
		m.replaceIssuance()
	}
	if !m.hasVolume || m.IsUnpublishing() {
		return
	}
	m.compareContent()
	if m.renewal.active {
		return
	}
	// What is planned keeps its moment, be it a re-issue or the next attempt after a
	// failure: edits must not put it off, nor bring it on.
	outdated := m.isOutdated()
	if outdated != m.reissue || m.want.Timing != m.plannedBy && !outdated && m.failures == 0 {
		m.plan()
	}
}

// replaceIssuance ends an issuance under another policy. A publish goes on under the
// present one, and a renewal is planned by it.
func (m *machine) replaceIssuance() {
	if m.issuance.phase == Held {
		m.dropIssuance(true)
	} else {
		m.abandon(ErrReplaced)
	}
	if m.renewal.active {
		m.endRenewal()
		m.plan()
	}
}

// takeBroken has a published volume renewed at once.
func (m *machine) takeBroken() {
	if !m.hasVolume || m.renewal.active || m.IsUnpublishing() {
		return
	}
	m.volume.Identity = "" // of no SVID that is wanted
	m.reissue, m.due = true, at(m.now)
}

// takeClockSet moves the beginning of a lifetime that began by a clock which has been set
// back since: what is left of it would count for more than it is.
func (m *machine) takeClockSet() {
	if !m.hasVolume || !m.volume.IsFromTheFuture(m.now) {
		return
	}
	m.volume.Obtained = m.now
	m.do(Correct{m.volume})
	if m.failures == 0 && !m.renewal.active && !m.IsUnpublishing() {
		m.plan()
	}
}

// compareContent has what belongs beside the SVID delivered, if the volume has something
// else.
func (m *machine) compareContent() {
	switch outdated := m.volume.Content != m.want.Content; {
	case !outdated:
		m.content = content{}
	case !m.content.outdated:
		m.content = content{outdated: true, next: after(0)}
	default: // what has changed may help
		m.content.next = after(0)
	}
}

// takeContentDue delivers what belongs beside the SVID.
func (m *machine) takeContentDue() {
	m.content.next = Plan{}
	if !m.hasVolume || m.volume.Content == m.want.Content {
		m.content = content{}
		return
	}
	if m.IsUnpublishing() {
		m.content.next = after(time.Second)
		return
	}
	m.rewriting = true
	m.await(Rewrite{})
}

// takeRewrote notes what has become of a Rewrite.
func (m *machine) takeRewrote(e Wrote) {
	m.rewriting = false
	if e.Err == nil {
		m.volume.Content = e.Volume.Content
		m.do(Tell{Note: NoteContentDelivered})
		m.compareContent()
		return
	}
	m.content.failures++
	wait := backoff(m.content.failures, firstRetry, lastRetry, m.chance(m.content.failures))
	m.content.next = after(wait)
	m.do(Tell{Note: NoteContentFailed, Err: e.Err, Failures: m.content.failures, After: wait})
}

// takeRecovered takes over what an earlier process has left.
func (m *machine) takeRecovered(e Recovered) {
	m.damaged = e.Damaged
	if e.HasVolume {
		m.volume, m.hasVolume, m.recovered = e.Volume, true, !e.Sure
		if e.SameKey {
			m.completeVolume(e.Open)
		}
		m.plan()
		m.compareContent()
	}
	if e.Open.Request == "" || e.SameKey {
		return
	}
	m.open = e.Open
	if !m.hasVolume {
		m.due = after(UnaskedAge)
	}
}

// completeVolume is for a volume whose process was killed after it had put a new SVID into
// the files, and before it had forgotten the request.
func (m *machine) completeVolume(open Open) {
	if m.volume.Request != open.Request { // else all of it has been noted
		m.volume.EarlyRenewals = max(0, m.volume.EarlyRenewals-1)
	}
	m.volume.Request = open.Request
	m.volume.Identity, m.volume.Requested = open.Order.Identity, open.Order.Duration
	m.do(Correct{m.volume})
	m.do(Close{open, false})
}
