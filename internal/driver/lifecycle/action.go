// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import "time"

// Action is something to do. Actions are carried out in order, each before the next. One
// that has a result is the last of its step: the result is the next event of the volume.
type Action interface{ action() }

// Actions that have a result.
type (
	// Inspect looks at what is at a target, and claims it for the volume.
	Inspect struct {
		Call   CallID
		Target string
		// Published is set if the volume was published at this target: most calls only find
		// it there.
		Published bool
		// Read is set if the volume has files whose SVID has not expired.
		Read bool
	}
	// Prepare makes a key and a request, and keeps both in the volume's folder in place of
	// what was kept before.
	Prepare struct{ Order Order }
	// Write puts the SVID that was issued into the files, with what belongs beside it, in
	// one step for readers, and notes all of it in the metadata.
	Write struct {
		// Call is the call to publish; zero for a renewal.
		Call CallID
		// EarlyRenewals is what the volume gets; see [Volume].
		EarlyRenewals int
	}
	// Rewrite delivers what belongs beside the SVID, and keeps that to the byte.
	Rewrite struct{}
	// Mount makes the volume appear at the target of a call.
	Mount struct {
		Call   CallID
		Target string
	}
	// Undo takes away what a call to publish has mounted or made. What was at the target
	// before stays.
	Undo struct {
		Call   CallID
		Target string
		// Files is set if the files go, too: the pod has none of them.
		Files bool
	}
	// Remove unmounts the volume, at the target of the call and wherever else it is, and
	// then removes all of it.
	Remove struct {
		Call   CallID
		Target string
	}
)

// Actions without a result.
type (
	// Begin notes, for metrics, that an SVID is being obtained, for a call, or for a volume
	// that is due since then.
	Begin struct {
		Purpose Purpose
		Call    CallID
		Since   time.Time
	}
	// Issue begins to obtain an SVID by the open request, or goes on with that. Its result
	// comes later, as Issued or Refused.
	Issue struct{ Order Order }
	// Abandon has an issuance end soon, because of Why.
	Abandon struct{ Why error }
	// Close deletes the open request from the volume's folder, with its key, and if Discard
	// is set from the API server: no SVID will come from it.
	Close struct {
		Open    Open
		Discard bool
	}
	// Retire has earlier requests of the volume deleted, but for the history.
	Retire struct{}
	// Correct notes in the metadata what is known of the volume now.
	Correct struct{ Volume Volume }
	// Reply answers a call of the kubelet. Without Err it has succeeded.
	Reply struct {
		Call CallID
		Err  error
	}
	// Arm starts a timer anew.
	Arm struct {
		Timer Timer
		After time.Duration
	}
	// Disarm stops a timer.
	Disarm struct{ Timer Timer }
	// Tell reports something to people: the log, metrics and the list of volumes.
	Tell struct {
		Note Note
		Call CallID
		Err  error
		// Failures counts those in a row, and After is how long until the next attempt.
		Failures int
		After    time.Duration
		// At is when it goes on.
		At time.Time
	}
)

// Note is what a [Tell] is about.
type Note uint8

const (
	// NoteDisowned means that what an earlier process has left is of another pod.
	NoteDisowned Note = iota
	// NoteNoRoom means that nothing can be published now, because of Err.
	NoteNoRoom
	// NoteStaysDamaged means that a publish has failed, and the pod keeps what it has.
	NoteStaysDamaged
	// NotePublished means that a pod has got its volume.
	NotePublished
	// NoteMountedAgain means that a volume that had its files was mounted.
	NoteMountedAgain
	// NoteResumed means that a request that was under way is gone on with.
	NoteResumed
	// NoteRetry means that an attempt to create the request has failed, and is made again.
	NoteRetry
	// NoteQuota is NoteRetry for a quota.
	NoteQuota
	// NoteRetrying means that another attempt begins, because the one before has failed.
	NoteRetrying
	// NoteNameTaken means that another request name is tried.
	NoteNameTaken
	// NoteStale means that an SVID was signed too long ago, and another one is requested.
	NoteStale
	// NoteIssuanceFailed means that there is no SVID, because of Err.
	NoteIssuanceFailed
	// NoteWaitsUntilValid means that a publish waits until the SVID is valid.
	NoteWaitsUntilValid
	// NoteNotYetValid means that an SVID is delivered later, because it is not valid yet.
	NoteNotYetValid
	// NoteNeedsToken means that a renewal waits for the kubelet.
	NoteNeedsToken
	// NoteRenewed means that a pod has got another SVID.
	NoteRenewed
	// NoteRenewalFailed means that an attempt to renew has failed.
	NoteRenewalFailed
	// NoteWriteFailed means that an SVID that was issued could not be delivered.
	NoteWriteFailed
	// NoteContentFailed means that what belongs beside the SVID could not be delivered.
	NoteContentFailed
	// NoteContentDelivered means that it was delivered.
	NoteContentDelivered
	// NoteGivenUp means that nobody asks for an unpublished volume any more.
	NoteGivenUp
)

func (Inspect) action() {}
func (Prepare) action() {}
func (Write) action()   {}
func (Rewrite) action() {}
func (Mount) action()   {}
func (Undo) action()    {}
func (Remove) action()  {}
func (Begin) action()   {}
func (Issue) action()   {}
func (Abandon) action() {}
func (Close) action()   {}
func (Retire) action()  {}
func (Correct) action() {}
func (Reply) action()   {}
func (Arm) action()     {}
func (Disarm) action()  {}
func (Tell) action()    {}
