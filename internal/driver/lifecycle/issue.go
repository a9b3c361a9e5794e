// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import "time"

const (
	// mostNames is how many names are tried for a request at a time.
	mostNames = 3
	// quotaWait is for how long a request is tried again after earlier ones of its volume
	// were deleted. kube-controller-manager takes most often less than a second to give the
	// quota back.
	quotaWait = 10 * time.Second
	// longestRetry bounds the time between two attempts of a pod's first request while the
	// API server is away: the pod should start soon after it is back.
	longestRetry = 10 * time.Second
	// longestAhead is how far in the future an SVID may become valid for a publish to wait.
	// Clocks that are set by NTP differ by less.
	longestAhead = time.Minute
)

// wanted is the order for an SVID that would be placed now.
func (m *machine) wanted() Order {
	return Order{m.want.Policy, m.want.Identity, m.want.Duration, m.pod}
}

// advanceIssuance obtains an SVID if somebody needs one, and delivers it.
func (m *machine) advanceIssuance() (more bool) {
	needed := m.firstWaiting() >= 0 || m.renewal.active
	switch m.issuance.phase {
	case Idle:
		if needed {
			return m.begin()
		}
		m.issuance = issuance{}
	case Failed:
		if needed {
			return m.tellFailure()
		}
	case Running, BackingOff:
		if needed && m.issuance.order != m.wanted() {
			m.abandon(ErrReplaced)
			return true
		}
	case Held:
		if needed || m.hasVolume && !m.issuance.parked {
			return m.deliver(needed)
		}
	case Cancelling: // its end is waited for
	}
	return false
}

// begin obtains an SVID: by the request that is open, if it was made for the same order,
// else by another one.
func (m *machine) begin() (more bool) {
	if m.firstWaiting() < 0 && !m.isDue() { // any more: what is wanted has changed back
		m.endRenewal()
		m.plan()
		return true
	}
	order := m.wanted()
	if m.issuance.order != order { // else it is the same attempt, with another request
		m.issuance = issuance{order: order, purpose: Purpose(m.firstWaiting() < 0)}
		begin := Begin{Purpose: m.issuance.purpose, Since: m.renewal.since}
		if i := m.firstWaiting(); i >= 0 {
			begin.Call = m.calls[i].id
		}
		m.do(begin)
		if m.open.fits(order) {
			m.do(Tell{Note: NoteResumed})
		}
	}
	if m.open.fits(order) {
		m.issue()
		return true
	}
	m.closeOpen(true)
	m.await(Prepare{order})
	return false
}

// takePrepared goes on with a request that was made.
func (m *machine) takePrepared(e Prepared) {
	if e.Err != nil {
		m.issuanceFailed(e.Err, false)
		return
	}
	m.open = Open{e.Request, m.issuance.order}
	m.issue()
}

func (m *machine) issue() {
	m.issuance.phase = Running
	m.do(Issue{m.issuance.order})
}

// abandon has the issuance end because of why. It counts as going on until it has ended.
func (m *machine) abandon(why error) {
	if m.issuance.phase == BackingOff {
		m.do(Abandon{why})
		m.dropIssuance(true)
		return
	}
	m.issuance.phase = Cancelling
	m.do(Abandon{why})
}

// dropIssuance forgets what an issuance has come to, and with closes its request, too.
func (m *machine) dropIssuance(closes bool) {
	if closes {
		m.closeOpen(true)
	}
	m.issuance = issuance{}
	m.disarm(RetryTimer)
	m.disarm(ValidityTimer)
	m.disarm(FailedTimer)
}

// closeOpen forgets the open request. With discard it is deleted from the API server.
func (m *machine) closeOpen(discard bool) {
	if m.open.Request == "" {
		return
	}
	m.do(Close{m.open, discard})
	m.open = Open{}
}

// takeIssued takes an SVID that was issued. One that can never be used is as if there were
// none.
func (m *machine) takeIssued(e Issued) {
	if m.issuance.phase != Running {
		m.dropIssuance(true) // nobody wants it
		return
	}
	if m.issuance.progress = 0; e.SVID.isStale(m.now) && !m.issuance.renewedStale {
		m.do(Tell{Note: NoteStale, At: e.SVID.NotAfter})
		m.closeOpen(true)
		m.issuance.renewedStale, m.issuance.phase = true, Idle
		return
	}
	if err := e.SVID.unusable(m.now); err != nil {
		m.issuanceFailed(err, true)
		return
	}
	m.issuance.phase, m.issuance.svid = Held, e.SVID
}

// takeRefused takes that a request has brought no SVID, and decides whether it is tried
// again.
func (m *machine) takeRefused(e Refused) {
	if m.issuance.phase != Running {
		m.dropIssuance(true)
		return
	}
	switch e.Reason {
	case Cancelled:
		m.dropIssuance(true)
		return
	case NameTaken:
		m.closeOpen(false) // and not somebody else's request
		m.issuance.names++
		if m.issuance.names < mostNames {
			m.do(Tell{Note: NoteNameTaken, Err: e.Err})
			m.issuance.phase = Idle
			return
		}
	case QuotaExceeded:
		m.issuance.cleared = m.issuance.cleared || e.Cleared
		if m.issuance.cleared && m.issuance.quotaWaited < quotaWait {
			m.retryForQuota(e.Err)
			return
		}
	case Unavailable:
		if !m.hasVolume {
			m.retry(e)
			return
		}
	case Rejected:
	}
	// One that could not be created now may have been all the same; the next attempt will see.
	m.issuanceFailed(e.Err, e.Reason != Unavailable)
}

// retry asks the API server again. The kubelet, which waits longer each time, only collects
// the SVID; a volume that is published has time, and its renewal waits for its turn.
func (m *machine) retry(e Refused) {
	m.issuance.tries++
	wait := backoff(m.issuance.tries, firstRetry, longestRetry, m.chance(m.issuance.tries))
	if e.RetryAfter > 0 {
		wait = max(wait, e.RetryAfter+part(m.chance(-m.issuance.tries)/2, e.RetryAfter))
	}
	m.do(Tell{Note: NoteRetry, Err: e.Err, Failures: m.issuance.tries, After: wait})
	m.backOff(wait)
}

func (m *machine) retryForQuota(err error) {
	m.issuance.tries++
	wait := backoff(m.issuance.tries, firstQuotaRetry, lastQuotaRetry, m.chance(m.issuance.tries))
	m.issuance.quotaWaited += wait
	m.do(Tell{Note: NoteQuota, Err: err, Failures: m.issuance.tries, After: wait})
	m.backOff(wait)
}

// backOff waits before the request is created again. A renewal keeps its slot no longer
// than it would wait for an approver: a quota, too, is of one namespace.
func (m *machine) backOff(wait time.Duration) {
	m.issuance.phase = BackingOff
	m.arm(RetryTimer, wait)
	m.takeReached(Created)
}

// issuanceFailed ends an issuance that has brought no SVID, and with closes its request. It
// tells whoever needs the SVID. If that is nobody, the next one is told within a while.
func (m *machine) issuanceFailed(err error, closes bool) {
	order := m.issuance.order
	m.do(Tell{Note: NoteIssuanceFailed, Err: err})
	m.dropIssuance(closes)
	m.issuance = issuance{phase: Failed, order: order, err: err}
	if m.firstWaiting() < 0 && !m.renewal.active {
		m.arm(FailedTimer, keepError)
	}
}

// tellFailure tells whoever needs an SVID why there is none, if what failed was what is
// needed.
func (m *machine) tellFailure() (more bool) {
	failed := m.issuance
	m.dropIssuance(false)
	if failed.order != m.wanted() {
		return true
	}
	m.failWaiting(failed.err)
	if m.renewal.active {
		m.renewalFailed(failed.err)
	}
	return true
}

// deliver puts the SVID that was issued into the volume, if it is of use now.
func (m *machine) deliver(needed bool) (more bool) {
	svid := m.issuance.svid
	switch {
	case needed && m.issuance.order != m.wanted(), m.issuance.order.Policy != m.want.Policy,
		m.hasVolume && m.issuance.order.Pod.UID != m.volume.PodUID:
		m.dropIssuance(true)
		return true
	case m.isTooOld(svid):
		if needed { // else the next renewal requests another one
			m.do(Tell{Note: NoteStale, At: svid.NotAfter})
		}
		m.dropIssuance(true)
		return true
	case svid.ahead(m.now) > 0 && (!m.hasVolume || !m.volume.hasEnded(m.now)):
		return m.deliverLater(svid)
	}
	m.disarm(ValidityTimer)
	if i := m.firstWaiting(); i >= 0 {
		m.await(Write{Call: m.calls[i].id, EarlyRenewals: earlyRenewals})
	} else {
		m.await(Write{EarlyRenewals: m.earlyAfter()})
	}
	return false
}

// isTooOld reports whether an SVID has been waiting for too long. One that was just issued
// is not judged again.
func (m *machine) isTooOld(svid SVID) bool {
	return svid.hasEnded(m.now) || svid.isStale(m.now) && !m.issuance.renewedStale
}

// deliverLater keeps an SVID that is not valid yet. A publish waits for it if that is soon.
// A renewal has ended, and is due when the SVID is valid, or when the one in the volume has
// expired, whichever comes first.
func (m *machine) deliverLater(svid SVID) (more bool) {
	early := &NotYetValidError{From: svid.NotBefore, Ahead: svid.ahead(m.now)}
	if m.firstWaiting() >= 0 {
		if early.Ahead <= longestAhead {
			if !m.armed[ValidityTimer] {
				m.arm(ValidityTimer, min(early.Ahead, time.Second)) // the clock may be set meanwhile
				m.do(Tell{Note: NoteWaitsUntilValid, Err: early})
			}
			return false
		}
		m.failWaiting(early)
		more = true
	}
	if m.renewal.active {
		when := svid.NotBefore
		if expires := m.volume.NotAfter.Add(time.Second); expires.Before(when) {
			when = expires
		}
		// The schedule takes no notice of a clock that is set by less than this.
		if soon := m.now.Add(100 * time.Millisecond); when.Before(soon) {
			when = soon
		}
		m.endRenewal()
		m.issuance.parked = true
		m.due = at(when)
		m.do(Tell{Note: NoteNotYetValid, Err: early, At: when})
		return true
	}
	return more
}

// takeWrote goes on when the files were written: to the mount, if the volume is not in its
// pod, or to the end of the renewal.
func (m *machine) takeWrote(e Wrote) {
	i := m.firstWaiting()
	switch {
	case m.rewriting:
		m.takeRewrote(e)
	case e.Err != nil && i >= 0:
		m.issuance.parked = true
		m.do(Tell{Note: NoteWriteFailed, Call: m.calls[i].id, Err: e.Err})
		m.failWaiting(e.Err)
	case e.Err != nil:
		m.do(Tell{Note: NoteWriteFailed, Err: e.Err})
		m.issuance.parked = true
		m.renewalFailed(e.Err)
	case i >= 0:
		m.written = e.Volume
		m.await(Mount{m.calls[i].id, m.calls[i].target})
	default:
		m.damaged = m.damaged && !e.InPod
		m.delivered(e.Volume)
		m.do(Tell{Note: NoteRenewed})
	}
}

// delivered follows when a pod has a new SVID.
func (m *machine) delivered(v Volume) {
	m.volume, m.hasVolume, m.recovered = v, true, false
	m.endRenewal()
	m.failures = 0
	m.closeOpen(false)
	m.dropIssuance(false)
	// What is wanted may have changed since the request was made.
	m.plan()
	m.compareContent()
	m.do(Retire{})
}
