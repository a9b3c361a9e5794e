// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// outcome is what became of an attempt, as metrics name it.
type outcome string

const (
	// succeeded: the document is in the volume.
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
	// abandoned: nobody wants the document any more, or not this one.
	abandoned outcome = "abandoned"
	// nodeFailure: the node could not do its part.
	nodeFailure outcome = "node_failure"
)

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
	case errors.Is(err, errUnpublished), errors.Is(err, errReplaced), errors.Is(err, errStopping), errors.Is(err, errNotLive):
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

// placeError is an error that says, to the log and to metrics, where it happened.
// Its text is that of the cause.
type placeError struct {
	error
	stage   issuance.Stage
	request types.NamespacedName
}

// Unwrap returns the cause.
func (e *placeError) Unwrap() error { return e.error }

// placeOf returns the stage at which a document did not come into its volume, and
// the request that it was to come from, as far as that is known.
func placeOf(err error) (issuance.Stage, types.NamespacedName) {
	var place *placeError
	if errors.As(err, &place) {
		return place.stage, place.request
	}
	var issue *issuance.Error
	if errors.As(err, &issue) {
		return issue.Stage, issue.Request
	}
	return "", noRequest
}
