// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// record is all that is known of one volume. Messages reach it through its inbox. Its worker,
// a goroutine that is there while there are messages, takes one after the other, and is the
// only one that reads or writes the fields below inbox. Everybody else reads the view.
type record struct {
	id string

	// view is what the worker has last published of the record.
	view atomic.Pointer[view]

	mu sync.Mutex
	// inbox are messages that the worker has not taken yet.
	inbox []message
	// working is set while there is a worker, and gone when the record has been dropped.
	working, gone bool

	state lifecycle.State
	// config is the configuration of the message that is being taken.
	config *config.Config
	// calls are the calls of the kubelet that have not been answered.
	calls map[lifecycle.CallID]*kubeletCall
	// answers are to be given when the message has been taken.
	answers []answer
	// token is the latest one of the pod, and lastPod the pod that requests were last made
	// for.
	token   Token
	lastPod issuance.Pod
	// live is what was published, or nil; fresh is what is about to be.
	live, fresh *volume.Metadata
	// pending is the open request, with its key.
	pending *issuance.Pending
	// uncorrected is set while the metadata are known to be wrong.
	uncorrected bool
	request     *request
	// policy is the one under which the next SVID is requested.
	policy policy.Policy
	// attempt measures how an SVID comes into the volume; nil before the first one.
	attempt *observe.Attempt
	// endPriority ends the time in which renewals wait for this volume; nil: they do not.
	endPriority func()
	// slot is closed when a renewal gives its slot back; nil if it has none.
	slot chan struct{}
	// due and contentDue are what the schedulers have been told, and dueAt is when a
	// renewal was due.
	due, contentDue lifecycle.Plan
	dueAt           time.Time
	timers          map[lifecycle.Timer]*time.Timer

	seen observations
}

// observations are what people are told of a volume, and what no decision depends on.
type observations struct {
	damage  *observe.Damage
	lastErr error
	// lastErrAt is when lastErr happened.
	lastErrAt time.Time
	// shadowedBy is what the pod's containers may see in place of the volume.
	shadowedBy string
	// subPath names containers that mount the volume with subPath.
	subPath string
	// keyUnchecked is set while only a part of the key that an earlier process has left was
	// checked.
	keyUnchecked bool
	// unverified names the chain that the trust bundle in force does not verify, and the
	// bundle.
	unverified string
}

// view is what others see of a record: the state after a message, and what belongs to it. It
// is never changed.
type view struct {
	state     lifecycle.State
	live      *volume.Metadata
	pod       issuance.Pod
	request   *request
	attempt   *observe.Attempt
	renewalAt time.Time
	seen      observations
}

// message is an event of a volume, with what belongs to it beside the decision.
type message struct {
	event lifecycle.Event
	// call is the call of the kubelet that a Publish or Unpublish stands for.
	call *kubeletCall
	// svid is that of an Issued.
	svid *issuance.SVID
	// slot is that of a Due.
	slot chan struct{}
	// run, unless nil, is called by the worker instead of the event, and may return one.
	run func(*record) lifecycle.Event
	// timer is the one of an Elapsed.
	timer *time.Timer
	// done, unless nil, is closed when the message has been taken.
	done chan struct{}
}

// kubeletCall is a call that has not been answered.
type kubeletCall struct {
	id      lifecycle.CallID
	publish PublishRequest
	// before is what was at the target when the call came, if it has been looked at.
	before    volume.TargetState
	inspected bool
	// answer gets the answer; it has room for it.
	answer chan error
}

// answer is what a call of the kubelet is answered.
type answer struct {
	call *kubeletCall
	err  error
}

// record returns the record of a volume. With create it is made if need be, and else nil.
func (m *Manager) record(id string, create bool) *record {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[id]
	if r == nil && create {
		r = &record{id: id, calls: map[lifecycle.CallID]*kubeletCall{}, timers: map[lifecycle.Timer]*time.Timer{}}
		r.state.ID = id
		r.view.Store(&view{state: r.state})
		m.records[id] = r
		if label := issuance.VolumeLabel(id); m.labels[label] == nil { // else it is another's: an ID may look like a label
			m.labels[label] = r
		}
	}
	return r
}

// send gives a message to a volume, and with create also to one that is not known. It
// reports whether somebody takes the message.
func (m *Manager) send(id string, create bool, msg message) bool {
	for {
		r := m.record(id, create)
		if r == nil {
			return false
		}
		if m.post(r, msg) {
			return true
		}
	}
}

// post puts a message into the inbox of a record, unless the record has been dropped.
func (m *Manager) post(r *record, msg message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return false
	}
	r.inbox = append(r.inbox, msg)
	if !r.working {
		r.working = true
		m.goInBackground(func() { m.work(r) })
	}
	return true
}

// work takes the messages of a record until there are none, and drops the record if there is
// nothing left to know of it.
func (m *Manager) work(r *record) {
	for {
		r.mu.Lock()
		if len(r.inbox) == 0 {
			r.working = false
			r.mu.Unlock()
			m.dropIfEmpty(r)
			return
		}
		msg := r.inbox[0]
		r.inbox = r.inbox[1:]
		r.mu.Unlock()
		m.take(r, msg)
		if msg.done != nil {
			close(msg.done)
		}
	}
}

// dropIfEmpty forgets a record of which there is nothing to know. That of an unpublished
// volume may still be wanted by the kubelet: it is made anew then.
func (m *Manager) dropIfEmpty(r *record) {
	if v := r.view.Load(); !v.state.IsEmpty() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.working || r.gone || len(r.inbox) > 0 || !r.state.IsEmpty() {
		return
	}
	r.gone = true
	delete(m.records, r.id)
	if label := issuance.VolumeLabel(r.id); m.labels[label] == r {
		delete(m.labels, label)
	}
}

// take takes one message: what follows from it is decided and done, until something has to
// be waited for.
func (m *Manager) take(r *record, msg message) {
	r.config = m.Config.Current()
	for event := m.before(r, msg); event != nil; {
		var actions []lifecycle.Action
		r.state, actions = lifecycle.Next(time.Now(), m.desired(r), r.state, event)
		m.planDue(r)
		event = nil
		for _, action := range actions {
			if _, long := action.(lifecycle.Prepare); long { // to make a key takes long for some kinds
				m.settle(r)
			}
			// Only the last one may have a result.
			event = m.act(r, action)
		}
	}
	m.settle(r)
}

// before notes what belongs to a message beside the decision, and returns the event to
// decide on; nil if there is none.
func (m *Manager) before(r *record, msg message) lifecycle.Event {
	if msg.run != nil {
		return msg.run(r)
	}
	switch e := msg.event.(type) {
	case lifecycle.Publish:
		r.calls[e.Call] = msg.call
	case lifecycle.Unpublish:
		r.calls[e.Call] = msg.call
	case lifecycle.CallEnded:
		e.Err = r.explain(e.Err)
		return e
	case lifecycle.Issued:
		r.request.svid = msg.svid
		m.requestEnded(r, nil)
	case lifecycle.Refused:
		m.requestEnded(r, e.Err)
	case lifecycle.Due:
		r.releaseSlot()
		r.slot = msg.slot
		r.due = lifecycle.Plan{}
		e.Since = r.dueAt
		return e
	case lifecycle.ContentDue:
		r.contentDue = lifecycle.Plan{}
	case lifecycle.Elapsed:
		if r.timers[e.Timer] != msg.timer { // it has been stopped or started anew
			return nil
		}
		delete(r.timers, e.Timer)
	}
	return msg.event
}

// settle follows the state: schedulers, the slot and the view are derived from it. Calls are
// answered last, so that whoever has an answer can see what it is about.
func (m *Manager) settle(r *record) {
	r.followVolume()
	if due := r.state.ContentDue(); due != r.contentDue {
		r.contentDue = due
		planOn(m.contents, r.id, due)
	}
	if !r.state.HoldsSlot() {
		r.releaseSlot()
	}
	if r.endPriority != nil && !r.state.IsWaiting() {
		r.endPriority()
		r.endPriority = nil
	}
	if !r.state.IsDamaged() {
		r.seen.damage = nil
	}
	m.publishView(r)
	for _, a := range r.answers {
		a.call.answer <- a.err
	}
	r.answers = nil
}

// planDue tells the scheduler when the volume is due. It does so after each decision: a plan
// that is dropped and made again, with the same wait, begins anew.
func (m *Manager) planDue(r *record) {
	if due := r.state.Due(); due != r.due {
		r.due = due
		r.dueAt = planOn(m.renewals, r.id, due)
	}
}

// publishView lets others see the record as it is, and counts what has changed since they
// saw it last.
func (m *Manager) publishView(r *record) {
	v := &view{state: r.state, live: r.live, pod: r.pod(), request: r.request, attempt: r.attempt, renewalAt: r.dueAt, seen: r.seen}
	if !r.due.Set {
		v.renewalAt = time.Time{}
	}
	if phase, _ := r.state.Issuance(); phase == lifecycle.Idle {
		v.request = nil
	}
	before := r.view.Swap(v)
	m.changed(r.id, &before.state, &v.state)
}

// planOn tells a scheduler what is planned, and returns when that is.
func planOn(s *issuance.Scheduler, id string, p lifecycle.Plan) time.Time {
	switch {
	case !p.Set:
		s.Cancel(id)
		return time.Time{}
	case p.At.IsZero():
		s.ScheduleAfter(id, p.After)
		return time.Now().Add(p.After)
	default:
		s.Schedule(id, p.At)
		return p.At
	}
}

// followVolume brings the metadata in line with what was decided of the volume.
func (r *record) followVolume() {
	v, ok := r.state.Volume()
	if !ok {
		r.live = nil
		return
	}
	if r.live == nil || volumeOf(r.live, v.Content) == v {
		return
	}
	live := *r.live
	live.TargetPath, live.EarlyRenewals, live.Request = v.Target, v.EarlyRenewals, v.Request
	live.IdentityHash, live.Duration, live.Obtained = v.Identity, v.Requested, v.Obtained
	r.live = &live
}

// volumeOf is what decisions need to know of metadata.
func volumeOf(meta *volume.Metadata, content any) lifecycle.Volume {
	return lifecycle.Volume{
		SVID: lifecycle.SVID{
			Lifetime: lifetimeOf(meta), Identity: meta.IdentityHash, Request: meta.Request,
		},
		PodUID: meta.PodUID, Target: meta.TargetPath, Content: content, EarlyRenewals: meta.EarlyRenewals,
	}
}

// lifetimeOf is the lifetime of the SVID of a published volume.
func lifetimeOf(meta *volume.Metadata) lifecycle.Lifetime {
	return lifecycle.Lifetime{NotBefore: meta.NotBefore, NotAfter: meta.NotAfter, Obtained: meta.Obtained.Round(0), Requested: meta.Duration}
}

// desired is what is wanted of the volume under the configuration of the message.
func (m *Manager) desired(r *record) lifecycle.Desired {
	want := m.wants(r.config)
	switch {
	case r.fresh != nil:
		want.Content = m.Files.Desired(r.config, r.fresh)
	case r.live != nil:
		want.Content = m.Files.Desired(r.config, r.live)
	}
	return want
}

// releaseSlot gives the slot of a renewal back.
func (r *record) releaseSlot() {
	if r.slot != nil {
		close(r.slot)
		r.slot = nil
	}
}

// pod returns what is known of the volume's pod: of a volume of an earlier process no
// ServiceAccount, and nothing of one that is damaged.
func (r *record) pod() issuance.Pod {
	switch {
	case !r.token.Secret.IsZero():
		return issuance.PodOf(r.token.PodToken)
	case r.live != nil:
		return issuance.Pod{Namespace: r.live.PodNamespace, Name: r.live.PodName, UID: r.live.PodUID}
	default:
		return r.lastPod
	}
}

// explain says what the volume waits for, when waiting for it has ended with err.
func (r *record) explain(err error) error {
	phase, _ := r.state.Issuance()
	if r.request == nil || phase == lifecycle.Idle || phase == lifecycle.Failed {
		return err
	}
	return r.request.progress.Err(err)
}

// translate gives an error of a decision the request that it is about.
func (r *record) translate(err error) error {
	var known *issuance.Error
	var bad *lifecycle.UnusableError
	var early *lifecycle.NotYetValidError
	switch {
	case err == nil, r.request == nil, errors.As(err, &known):
		return err
	case errors.As(err, &bad):
		return unusable(r.request.name, err)
	case errors.As(err, &early):
		return &issuance.Error{Request: r.request.name, Stage: issuance.StageVerify, Err: err}
	case errors.Is(err, lifecycle.ErrTooSlow):
		return r.request.progress.Err(context.DeadlineExceeded)
	default:
		return err
	}
}
