// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// Why an attempt ends because nobody wants its SVID any more, or not this one.
var (
	// ErrUnpublished is why a request ends when its volume is unpublished.
	ErrUnpublished = lifecycle.ErrUnpublished
	// ErrReplaced is why a request ends when it was made for something else than what
	// is wanted now.
	ErrReplaced = lifecycle.ErrReplaced
	// ErrStopping is why calls end when the driver stops.
	ErrStopping = errors.New("the driver is stopping")
)

// ErrNoUsableToken means that the pod's token has expired, or has not come yet since
// the driver was started.
var ErrNoUsableToken = errors.New("no valid token of the pod is known")

// outcome is what became of an attempt, as metrics name it.
type outcome string

const (
	// succeeded: the SVID is in the volume.
	succeeded outcome = "succeeded"
	// denied: an approver denied the request.
	denied outcome = "denied"
	// failed: the issuer gave the request up.
	failed outcome = "failed"
	// deleted: somebody deleted the request while it waited.
	deleted outcome = "deleted"
	// refused: the API server said no.
	refused outcome = "refused"
	// unavailable: the API server did not answer, or could not do it now.
	unavailable outcome = "unavailable"
	// badCertificate: what was signed is not what was asked for.
	badCertificate outcome = "bad_certificate"
	// abandoned: nobody wants the SVID any more, or not this one.
	abandoned outcome = "abandoned"
	// nodeFailure: the node could not do its part.
	nodeFailure outcome = "node_failure"
)

// outcomeOf is the outcome of an attempt that failed in a stage because of err.
func outcomeOf(err error, stage issuance.Stage) outcome {
	switch {
	case errors.Is(err, issuance.ErrDenied):
		return denied
	case errors.Is(err, issuance.ErrFailed):
		return failed
	case errors.Is(err, issuance.ErrDeleted):
		return deleted
	case errors.Is(err, issuance.ErrBadCertificate):
		return badCertificate
	case errors.Is(err, ErrUnpublished), errors.Is(err, ErrReplaced), errors.Is(err, ErrStopping), errors.Is(err, lifecycle.ErrUnasked):
		return abandoned
	case stage == issuance.StageClear, stage == issuance.StageCreate:
		if issuance.IsTransient(err) {
			return unavailable
		}
		return refused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return abandoned
	default:
		return nodeFailure
	}
}

// usualOutcomes are those that somebody may wait for in vain, with their stages.
func usualOutcomes(op Operation) map[outcome][]issuance.Stage {
	stages := op.stages()
	last := stages[len(stages)-1]
	return map[outcome][]issuance.Stage{
		succeeded:      {last},
		denied:         {issuance.StageApprove},
		failed:         {issuance.StageSign},
		deleted:        {issuance.StageApprove, issuance.StageSign},
		refused:        {issuance.StageCreate},
		unavailable:    {issuance.StageCreate},
		badCertificate: {issuance.StageVerify},
		abandoned:      {issuance.StageApprove, issuance.StageSign},
		nodeFailure:    {issuance.StagePrepare, issuance.StageWrite, last},
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
