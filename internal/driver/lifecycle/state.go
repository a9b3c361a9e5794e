// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"slices"
	"time"
)

// Desired is what is wanted of one volume at a moment. It is derived from the
// configuration and the trust bundle in force.
type Desired struct {
	// Policy identifies the policy under which CertificateRequests are made, and
	// Identity the same without the lifetime: an SVID of another Identity is re-issued.
	Policy, Identity string
	// Duration is the lifetime that is requested.
	Duration time.Duration
	// Timing says when SVIDs are renewed.
	Timing Timing
	// ReissueWindow is the period over which re-issues are spread.
	ReissueWindow time.Duration
	// PublishTimeout bounds how long one attempt to renew waits for its SVID.
	PublishTimeout time.Duration
	// Content identifies what is to be delivered beside the SVID: the names of the files
	// and the trust bundle. It is compared with ==.
	Content any
}

// Pod is the pod of a volume, as far as an SVID depends on it.
type Pod struct{ UID, Namespace, ServiceAccount string }

// Order is what an SVID is requested for. An SVID of another order is not what is wanted.
type Order struct {
	Policy, Identity string
	Duration         time.Duration
	Pod              Pod
}

// SVID is what decisions need to know of a signed SVID.
type SVID struct {
	Lifetime

	// Identity is that of the order.
	Identity string
	// Request is the name of the CertificateRequest.
	Request string
}

// Volume is what the pod has.
type Volume struct {
	SVID

	// PodUID is the UID of the pod.
	PodUID string
	// Target is where the volume was mounted.
	Target string
	// Content is what was delivered beside the SVID; see [Desired].
	Content any
	// EarlyRenewals is how many of the next renewals come early.
	EarlyRenewals int
}

// Open is a CertificateRequest with its key, kept in the volume's folder until its SVID
// is in the files, or it is known that none will come.
type Open struct {
	// Request is its name; empty: there is none.
	Request string
	// Order is what it was made for. Of a request that an earlier process has left, the
	// ServiceAccount may be unknown.
	Order Order
}

// fits reports whether the request was made for an order.
func (o Open) fits(order Order) bool {
	if o.Order.Pod.ServiceAccount == "" {
		order.Pod.ServiceAccount = ""
	}
	return o.Request != "" && o.Order == order
}

// CallID identifies a call of the kubelet that has not been answered.
type CallID uint64

// call is a call of the kubelet that has not been answered.
type call struct {
	id        CallID
	unpublish bool
	target    string
	pod       Pod
	// tokenExpiry is until when the token of the call is good.
	tokenExpiry time.Time
	phase       callPhase
	// err is why a publish fails, once it does.
	err error
}

type callPhase uint8

const (
	// arrived: nothing is known of the target yet.
	arrived callPhase = iota
	// remounts: the files are whole, and only the mount is missing.
	remounts
	// waits: the volume needs an SVID.
	waits
	// fails: what the call has begun is to be undone.
	fails
)

// Phase is how far the issuance of a volume's next SVID has come.
type Phase uint8

const (
	// Idle means that no SVID is being obtained.
	Idle Phase = iota
	// Running means that the request is created, or waits for approver and issuer.
	Running
	// BackingOff means that the API server, or a quota, has no room for the request at present.
	BackingOff
	// Cancelling means that the result of the request is not wanted any more. The next one begins
	// when this one has ended, so that a volume never has two.
	Cancelling
	// Held means that an SVID has been issued and is in no volume yet.
	Held
	// Failed means that there is no SVID, and nobody was there to be told. The next call is.
	Failed
)

// Purpose is what an SVID is obtained for.
type Purpose bool

const (
	// Initial is for a volume that is about to be published.
	Initial Purpose = false
	// Renewal is for a volume that is published.
	Renewal Purpose = true
)

// Progress is how far a request has come, as far as it matters to others.
type Progress uint8

const (
	// Asking means that the API server is asked for something.
	Asking Progress = iota + 1
	// Created means that the request is known to be there, or a quota has no room for it.
	Created
)

// issuance is how an SVID is being obtained.
type issuance struct {
	phase    Phase
	order    Order
	purpose  Purpose
	progress Progress
	// tries counts failures in a row that are tried again, and names the request names
	// that somebody else had taken.
	tries, names int
	// quotaWaited is how long it has waited for room in a quota.
	quotaWaited time.Duration
	// cleared is set if earlier requests of the volume were deleted, so that a quota will
	// have room.
	cleared bool
	// renewedStale is set when an SVID came too late to be of use, and another one was
	// requested: that is done once.
	renewedStale bool
	// svid is what has been issued, while the phase is Held, and parked is set when it is
	// delivered by the next renewal only.
	svid   SVID
	parked bool
	// err is why there is none, while the phase is Failed.
	err error
}

// renewal is an attempt to renew, from when the volume became due until it has the SVID,
// or the attempt has failed.
type renewal struct {
	active bool
	// since is when the volume became due.
	since time.Time
	// slot is whether the attempt counts against driver.maxConcurrentRenewals.
	slot bool
	// maxHold is for how long it keeps the slot while it waits for approver and issuer.
	maxHold time.Duration
}

// Plan is when something is to be done: at a time by the wall clock, which may be set, or
// after a time has passed.
type Plan struct {
	At    time.Time
	After time.Duration
	// Set is false if nothing is planned.
	Set bool
}

func at(t time.Time) Plan        { return Plan{At: t, Set: true} }
func after(d time.Duration) Plan { return Plan{After: d, Set: true} }

// content is whether a volume has what is wanted beside its SVID.
type content struct {
	outdated bool
	// failures counts attempts to deliver it that failed, in a row.
	failures int
	// next is when it is delivered.
	next Plan
}

// Timer is one of the timers of a volume. They measure time that passes, whatever the wall
// clock is set to.
type Timer uint8

const (
	// RetryTimer ends the phase BackingOff.
	RetryTimer Timer = iota
	// RenewalTimer ends an attempt to renew that takes too long.
	RenewalTimer
	// SlotTimer ends the time for which a renewal keeps its slot while it waits.
	SlotTimer
	// ValidityTimer is for an SVID that is not valid yet.
	ValidityTimer
	// FailedTimer ends the phase Failed.
	FailedTimer

	timers
)

// State is all that decisions depend on of one volume. The zero value, with an ID, is a
// volume of which nothing is known. Only [Next] changes it.
type State struct {
	// ID is the CSI volume ID. Jitter is derived from it.
	ID string

	calls []call
	// pod is that of the latest token, which is good until tokenExpiry; zero if there is
	// none.
	pod         Pod
	tokenExpiry time.Time

	// volume is what the pod has, if hasVolume.
	volume    Volume
	hasVolume bool
	// recovered is set while the volume is as an earlier process has left it.
	recovered bool
	// damaged is set while something is mounted in the pod that is not the volume, or not
	// as it should be, and could not be replaced.
	damaged bool

	open     Open
	issuance issuance
	// written is a volume whose files are written and that is about to be mounted.
	written Volume

	renewal renewal
	// due is when the volume is to be renewed, or an unpublished one's request given up.
	due Plan
	// needsToken is set when the volume is due and there is no token.
	needsToken bool
	// failures counts attempts to renew that failed, in a row.
	failures int
	// reissue is set while the SVID is not the one that the configuration asks for.
	reissue bool
	// plannedBy is what due was derived from.
	plannedBy Timing

	content content
	armed   [timers]bool
	// doing is set between an action that has a result and that result, and rewriting if
	// that is a [Rewrite], whose result is like that of a [Write].
	doing, rewriting bool
}

// Volume returns what the pod has, if it has something that is known.
func (s *State) Volume() (Volume, bool) { return s.volume, s.hasVolume }

// Due returns when the volume is to be renewed.
func (s *State) Due() Plan { return s.due }

// ContentDue returns when what belongs beside the SVID is to be delivered.
func (s *State) ContentDue() Plan { return s.content.next }

// HoldsSlot reports whether a renewal is under way that counts against the limit of
// concurrent ones.
func (s *State) HoldsSlot() bool { return s.renewal.active && s.renewal.slot }

// IsRenewing reports whether an attempt to renew is under way.
func (s *State) IsRenewing() bool { return s.renewal.active }

// NeedsToken reports whether a renewal waits for the kubelet to send a token.
func (s *State) NeedsToken() bool { return s.needsToken }

// Failures returns how many attempts to renew have failed in a row.
func (s *State) Failures() int { return s.failures }

// NeedsReissue reports whether the pod's SVID is not what the configuration asks for.
func (s *State) NeedsReissue() bool { return s.reissue }

// IsOutdated reports whether what is beside the pod's SVID is not what is wanted, and how
// many attempts to change that have failed.
func (s *State) IsOutdated() (outdated bool, failures int) {
	return s.content.outdated, s.content.failures
}

// IsDamaged reports whether the pod has something else than its volume.
func (s *State) IsDamaged() bool { return s.damaged }

// Issuance returns how far the issuance of the next SVID has come, and for what.
func (s *State) Issuance() (Phase, Purpose) { return s.issuance.phase, s.issuance.purpose }

// Open returns the request that the next SVID is to come from, if there is one.
func (s *State) Open() (Open, bool) { return s.open, s.open.Request != "" }

// IsWaiting reports whether a call to publish the volume waits for an SVID.
func (s *State) IsWaiting() bool { return s.firstWaiting() >= 0 }

// IsUnpublishing reports whether the kubelet is unpublishing the volume.
func (s *State) IsUnpublishing() bool { return s.firstUnpublish() >= 0 }

// IsEmpty reports whether nothing is known of the volume, and nothing is going on.
func (s *State) IsEmpty() bool {
	return len(s.calls) == 0 && !s.hasVolume && !s.damaged && s.open.Request == "" && s.issuance.phase == Idle && !s.due.Set
}

// clone returns a copy that shares nothing that [Next] changes.
func (s State) clone() State {
	s.calls = slices.Clone(s.calls)
	return s
}

func (s *State) firstUnpublish() int {
	return slices.IndexFunc(s.calls, func(c call) bool { return c.unpublish })
}

func (s *State) indexOf(id CallID) int {
	return slices.IndexFunc(s.calls, func(c call) bool { return c.id == id })
}

// anyPublish reports whether there is a call to publish the volume.
func (s *State) anyPublish() bool {
	return slices.ContainsFunc(s.calls, func(c call) bool { return !c.unpublish })
}

// firstWaiting returns the first call that waits for an SVID, or -1.
func (s *State) firstWaiting() int {
	return slices.IndexFunc(s.calls, func(c call) bool { return !c.unpublish && c.phase == waits })
}
