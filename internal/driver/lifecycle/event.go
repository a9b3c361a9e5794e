// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import "time"

// Event is something that has happened. The kubelet, the API server, timers and changes of
// the configuration cause events; so do actions that have a result.
type Event interface{ event() }

// Events that the kubelet causes.
type (
	// Publish is a call of NodePublishVolume (CSI spec) for a pod. The kubelet repeats it
	// for as long as the pod runs, with fresh tokens.
	Publish struct {
		Call        CallID
		Pod         Pod
		Target      string
		TokenExpiry time.Time
	}
	// Unpublish is a call of NodeUnpublishVolume.
	Unpublish struct {
		Call   CallID
		Target string
	}
	// CallEnded means that nobody waits for the answer to a call any longer, because of Err.
	CallEnded struct {
		Call CallID
		Err  error
	}
)

// Events that follow an action with a result. No other event comes between the two.
type (
	// Inspected is the result of [Inspect].
	Inspected struct {
		// Err is why nothing can be told, or the target cannot be used.
		Err error
		// Published is set if the volume is mounted at the target as it should be. Nothing
		// else is known then.
		Published bool
		// Whole is set if the files are those of a good SVID.
		Whole bool
		// NoRoom is why a new SVID could not be delivered.
		NoRoom error
	}
	// Prepared is the result of [Prepare]: a request with a key of its own is kept in the
	// volume's folder, unless Err is set.
	Prepared struct {
		Request string
		Err     error
	}
	// Wrote is the result of [Write] and [Rewrite]: what the files have now, unless Err is
	// set, when they have what they had.
	Wrote struct {
		Volume Volume
		// InPod is set if a volume that was damaged is mounted in its pod as it should be.
		InPod bool
		Err   error
	}
	// Mounted is the result of [Mount].
	Mounted struct{ Err error }
	// Undone is the result of [Undo]. InPod is set if something is mounted at the target all
	// the same, which the pod may be using.
	Undone struct{ InPod bool }
	// Removed is the result of [Remove].
	Removed struct{ Err error }
)

// Events of an issuance. It ends with Issued or Refused, exactly once.
type (
	// Reached means that a request has come this far.
	Reached struct{ Progress Progress }
	// Issued means that the issuer has signed.
	Issued struct{ SVID SVID }
	// Refused means that there is no SVID.
	Refused struct {
		Reason Reason
		Err    error
		// RetryAfter is how long the API server asks to wait; zero if it does not say.
		RetryAfter time.Duration
		// Cleared is set if earlier requests of the volume were deleted, so that a quota
		// will have room.
		Cleared bool
	}
)

// Reason is why a request has brought no SVID.
type Reason uint8

const (
	// Rejected means that none will come of it. It was denied, failed, deleted or not accepted by the
	// API server, or was answered with something else than the SVID.
	Rejected Reason = iota
	// Unavailable means that the API server could not do it now. The request may exist.
	Unavailable
	// QuotaExceeded means that a quota of the namespace has no room.
	QuotaExceeded
	// NameTaken means that somebody else has made a request of the name that was chosen.
	NameTaken
	// Cancelled means that an [Abandon] has ended it.
	Cancelled
)

// Events of time and of the world around.
type (
	// Due means that the time of [State.Due] has come, and that the volume has one of the
	// slots for renewals.
	Due struct{ Since time.Time }
	// ContentDue means that the time of [State.ContentDue] has come.
	ContentDue struct{}
	// Elapsed means that a timer has ended.
	Elapsed struct{ Timer Timer }
	// Changed means that what is desired may have changed.
	Changed struct{}
	// ClockSet means that the wall clock was set.
	ClockSet struct{}
	// Damaged means that the pod has something else than its volume, which a request that
	// cannot be used has not changed.
	Damaged struct{}
	// Broken means that the files of a published volume have turned out not to be those of a
	// good SVID.
	Broken struct{}
	// Recovered is what a start has found of a volume.
	Recovered struct {
		// Volume is what the files hold, if HasVolume.
		Volume    Volume
		HasVolume bool
		// Open is a request that is kept in the volume's folder.
		Open Open
		// SameKey is set if the key of Open is that in the files: they came from it.
		SameKey bool
		// Sure is set if the volume is mounted where its metadata say, in the pod that they
		// say: they are not those of another volume.
		Sure bool
		// Damaged is set if the pod has something else than the volume.
		Damaged bool
	}
)

func (Publish) event()    {}
func (Unpublish) event()  {}
func (CallEnded) event()  {}
func (Inspected) event()  {}
func (Prepared) event()   {}
func (Wrote) event()      {}
func (Mounted) event()    {}
func (Undone) event()     {}
func (Removed) event()    {}
func (Reached) event()    {}
func (Issued) event()     {}
func (Refused) event()    {}
func (Due) event()        {}
func (ContentDue) event() {}
func (Elapsed) event()    {}
func (Changed) event()    {}
func (ClockSet) event()   {}
func (Broken) event()     {}
func (Damaged) event()    {}
func (Recovered) event()  {}
