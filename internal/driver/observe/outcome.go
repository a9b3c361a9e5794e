// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// Why an attempt ends because nobody wants its SVID any more, or not this one.
var (
	// ErrUnpublished is why a request ends when its volume is unpublished.
	ErrUnpublished = errors.New("the volume was unpublished")
	// ErrReplaced is why a request ends when it was made for something else than what
	// is wanted now.
	ErrReplaced = errors.New("another request has taken its place")
	// ErrStopping is why calls end when the driver stops.
	ErrStopping = errors.New("the driver is stopping")
	// ErrNotLive means that a volume was unpublished while it was being renewed.
	ErrNotLive = errors.New("the volume is not published any more")
)

// ErrNoUsableToken means that the pod's token has expired, or has not come yet since
// the driver was started.
var ErrNoUsableToken = errors.New("no valid token of the pod is known")

// Outcome is what became of an attempt, as metrics name it.
type Outcome string

const (
	// Succeeded: the SVID is in the volume.
	Succeeded Outcome = "succeeded"
	// Denied: an approver denied the request.
	Denied Outcome = "denied"
	// Failed: the issuer gave the request up.
	Failed Outcome = "failed"
	// Deleted: somebody deleted the request while it waited.
	Deleted Outcome = "deleted"
	// Refused: the API server said no.
	Refused Outcome = "refused"
	// Unavailable: the API server did not answer, or could not do it now.
	Unavailable Outcome = "unavailable"
	// BadCertificate: what was signed is not what was asked for.
	BadCertificate Outcome = "bad_certificate"
	// Abandoned: nobody wants the SVID any more, or not this one.
	Abandoned Outcome = "abandoned"
	// NodeFailure: the node could not do its part.
	NodeFailure Outcome = "node_failure"
)

// OutcomeOf is the outcome of an attempt that failed in a stage because of err.
func OutcomeOf(err error, stage issuance.Stage) Outcome {
	switch {
	case errors.Is(err, issuance.ErrDenied):
		return Denied
	case errors.Is(err, issuance.ErrFailed):
		return Failed
	case errors.Is(err, issuance.ErrDeleted):
		return Deleted
	case errors.Is(err, issuance.ErrBadCertificate):
		return BadCertificate
	case errors.Is(err, ErrUnpublished), errors.Is(err, ErrReplaced), errors.Is(err, ErrStopping), errors.Is(err, ErrNotLive):
		return Abandoned
	case stage == issuance.StageClear, stage == issuance.StageCreate:
		if issuance.IsTransient(err) {
			return Unavailable
		}
		return Refused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Abandoned
	default:
		return NodeFailure
	}
}

// usualOutcomes are those that somebody may wait for in vain, with their stages.
func usualOutcomes(op Operation) map[Outcome][]issuance.Stage {
	stages := op.stages()
	last := stages[len(stages)-1]
	return map[Outcome][]issuance.Stage{
		Succeeded:      {last},
		Denied:         {issuance.StageApprove},
		Failed:         {issuance.StageSign},
		Deleted:        {issuance.StageApprove, issuance.StageSign},
		Refused:        {issuance.StageCreate},
		Unavailable:    {issuance.StageCreate},
		BadCertificate: {issuance.StageVerify},
		Abandoned:      {issuance.StageApprove, issuance.StageSign},
		NodeFailure:    {issuance.StagePrepare, issuance.StageWrite, last},
	}
}

// PlaceError is an error that says, to the log and to metrics, where it happened. Its
// text is that of the cause.
type PlaceError struct {
	// Err is the cause.
	Err error
	// Stage is the stage of the attempt that failed.
	Stage issuance.Stage
	// Request is the request that the SVID came from, or was to; empty if there is none.
	Request types.NamespacedName
}

// Error returns the text of the cause.
func (e *PlaceError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *PlaceError) Unwrap() error { return e.Err }

// PlaceOf returns the stage at which an SVID did not come into its volume, and the
// request that it was to come from, as far as that is known.
func PlaceOf(err error) (issuance.Stage, types.NamespacedName) {
	var place *PlaceError
	if errors.As(err, &place) {
		return place.Stage, place.Request
	}
	var issue *issuance.Error
	if errors.As(err, &issue) {
		return issue.Stage, issue.Request
	}
	return "", types.NamespacedName{}
}
