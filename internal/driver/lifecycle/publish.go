// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

// takePublish takes a call to publish the volume, with the fresh token that it brings.
func (m *machine) takePublish(e Publish) {
	if m.hasVolume && m.volume.PodUID != e.Pod.UID && !m.disown(e.Call) {
		m.do(Reply{e.Call, wrongPod(m.volume.PodUID)})
		return
	}
	if !m.hasVolume {
		m.due = Plan{} // its request is not given up: it is asked for
	}
	m.calls = append(m.calls, call{id: e.Call, target: e.Target, pod: e.Pod, tokenExpiry: e.TokenExpiry})
}

// takeToken takes the token of a call whose turn has come.
func (m *machine) takeToken(c call) {
	m.pod, m.tokenExpiry = c.pod, c.tokenExpiry
	if m.needsToken {
		m.needsToken = false
		m.due = at(m.now)
	}
}

// disown forgets a volume that seems to be of another pod, if an earlier process has left
// it. The kubelet gives each pod's volume an ID of its own, so the metadata are damaged.
func (m *machine) disown(id CallID) bool {
	if !m.recovered {
		return false
	}
	m.endRenewal()
	m.hasVolume, m.volume, m.recovered = false, Volume{}, false
	m.forgetPlans()
	m.do(Tell{Note: NoteDisowned, Call: id})
	return true
}

// forgetPlans drops what is planned for a volume that is not published.
func (m *machine) forgetPlans() {
	m.due, m.needsToken, m.reissue, m.content, m.failures = Plan{}, false, false, content{}, 0
}

// takeInspected answers a call if the volume is there, as it is most often. Else the volume
// is mounted with the SVID that it has, or gets one.
func (m *machine) takeInspected(e Inspected) {
	i := m.firstIn(arrived)
	if i < 0 {
		return
	}
	c := &m.calls[i]
	switch {
	case e.Err != nil:
		m.reply(c.id, e.Err)
	case e.Published:
		m.damaged, m.recovered = false, false
		m.reply(c.id, nil)
	case e.Whole:
		c.phase = remounts
	case e.NoRoom != nil:
		m.do(Tell{Note: NoteNoRoom, Call: c.id, Err: e.NoRoom})
		m.fail(c.id, e.NoRoom)
	default:
		c.phase = waits
	}
}

// firstIn returns the first call to publish in a phase, or -1.
func (m *machine) firstIn(phase callPhase) int {
	for i, c := range m.calls {
		if !c.unpublish && c.phase == phase {
			return i
		}
	}
	return -1
}

// takeCallEnded answers a call that nobody waits for any longer. What the volume needs goes
// on: the next call of the kubelet finds it.
func (m *machine) takeCallEnded(e CallEnded) {
	i := m.indexOf(e.Call)
	switch {
	case i < 0: // it was answered meanwhile
	case m.calls[i].unpublish:
		m.reply(e.Call, e.Err)
		m.unpublishAborted()
	default:
		m.fail(e.Call, e.Err)
	}
}

// fail has a call to publish fail, when what it may have begun is undone.
func (m *machine) fail(id CallID, err error) {
	if i := m.indexOf(id); i >= 0 && m.calls[i].phase != fails {
		m.calls[i].phase, m.calls[i].err = fails, err
	}
}

// failWaiting has all calls fail that wait for an SVID.
func (m *machine) failWaiting(err error) {
	for _, c := range m.calls {
		if !c.unpublish && c.phase == waits {
			m.fail(c.id, err)
		}
	}
}

// takeUndone answers a call that has failed. If the pod may be using what is at the target,
// the answer is that it is there: older kubelets tear a volume down on an error.
func (m *machine) takeUndone(e Undone) {
	i := m.firstIn(fails)
	if i < 0 {
		return
	}
	c := m.calls[i]
	if e.InPod {
		m.damaged = true
		m.do(Tell{Note: NoteStaysDamaged, Call: c.id, Err: c.err})
		c.err = nil
	}
	m.reply(c.id, c.err)
}

// reply answers a call. If nobody asks for the volume any more, what goes on for it is given
// up after a while.
func (m *machine) reply(id CallID, err error) {
	i := m.indexOf(id)
	m.calls = append(m.calls[:i:i], m.calls[i+1:]...)
	m.do(Reply{id, err})
	if !m.hasVolume && !m.anyPublish() && (m.issuance.phase != Idle || m.open.Request != "") {
		m.due = after(UnaskedAge)
	}
}

// takeMounted answers the call that the volume was mounted for.
func (m *machine) takeMounted(e Mounted) {
	if i := m.firstIn(remounts); i >= 0 {
		m.takeMountedAgain(m.calls[i], e.Err)
		return
	}
	i := m.firstWaiting()
	if i < 0 {
		return
	}
	c := m.calls[i]
	if e.Err != nil {
		// The SVID stays, and the next call tries again.
		m.issuance.parked = true
		m.do(Tell{Note: NoteWriteFailed, Call: c.id, Err: e.Err})
		m.fail(c.id, e.Err)
		return
	}
	m.damaged = false
	m.delivered(m.written)
	m.do(Tell{Note: NotePublished, Call: c.id})
	m.reply(c.id, nil)
	// Another call may be for another target.
	for i := range m.calls {
		if !m.calls[i].unpublish && m.calls[i].phase == waits {
			m.calls[i].phase = arrived
		}
	}
}

func (m *machine) takeMountedAgain(c call, err error) {
	if err != nil {
		m.fail(c.id, err)
		return
	}
	m.volume.Target = c.target
	m.damaged, m.recovered = false, false
	m.do(Tell{Note: NoteMountedAgain, Call: c.id})
	m.reply(c.id, nil)
}

// advanceUnpublish destroys the volume, once nothing goes on that would write to it.
func (m *machine) advanceUnpublish(c call) (more bool) {
	if i := m.firstPublishBegun(); i >= 0 {
		if m.calls[i].phase != fails {
			m.fail(m.calls[i].id, ErrUnpublished)
		}
		m.await(Undo{Call: m.calls[i].id, Target: m.calls[i].target, Files: !m.hasVolume})
		return false
	}
	m.endRenewal()
	switch m.issuance.phase {
	case Running, BackingOff:
		m.abandon(ErrUnpublished)
		return true
	case Cancelling:
		return false
	case Held, Failed:
		m.dropIssuance(true)
	case Idle:
	}
	m.due, m.needsToken = Plan{}, false
	m.await(Remove{c.id, c.target})
	return false
}

// firstPublishBegun returns the first call to publish for which something has been done, or
// -1. One that has only arrived waits until the volume is unpublished.
func (m *machine) firstPublishBegun() int {
	for i, c := range m.calls {
		if !c.unpublish && c.phase != arrived {
			return i
		}
	}
	return -1
}

// takeRemoved answers a call to unpublish the volume.
func (m *machine) takeRemoved(e Removed) {
	i := m.firstUnpublish()
	if i < 0 {
		return
	}
	c := m.calls[i]
	if e.Err != nil {
		m.reply(c.id, e.Err)
		m.unpublishAborted()
		return
	}
	open := m.open
	calls, pod, expiry := m.calls, m.pod, m.tokenExpiry
	for t := range timers {
		m.disarm(t)
	}
	m.State = State{ID: m.ID, calls: calls}
	if m.anyPublish() {
		m.pod, m.tokenExpiry = pod, expiry
	}
	if open.Request != "" {
		m.do(Close{open, true})
	}
	m.do(Retire{})
	m.reply(c.id, nil)
}

// unpublishAborted follows a call to unpublish that has failed. A volume that is published
// all the same gets what is wanted, until the kubelet tries again.
func (m *machine) unpublishAborted() {
	if m.hasVolume && !m.IsUnpublishing() {
		m.plan()
		m.compareContent()
	}
}
