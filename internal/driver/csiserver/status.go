// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csiserver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/delivery"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// toStatus gives an error its gRPC code. The kubelet writes the message into
// the pod's events, and reads from the code whether the volume may be there all
// the same (kubernetes/pkg/volume/csi/csi_client.go, isFinalError): after
// DeadlineExceeded, Canceled, Unavailable, Aborted and ResourceExhausted it calls
// unpublish when the pod goes, after any other code it does not.
func toStatus(err error) error {
	return status.Error(codeOf(err), describe(err))
}

func codeOf(err error) codes.Code {
	switch {
	case errors.Is(err, mounts.ErrRefused), errors.Is(err, manager.ErrWrongPod),
		errors.Is(err, spiffe.ErrMalformedToken), errors.Is(err, spiffe.ErrTokenClaims):
		return codes.InvalidArgument
	case errors.Is(err, ErrNoToken), errors.Is(err, mounts.ErrTargetInUse), errors.Is(err, mounts.ErrOccupied), errors.Is(err, mounts.ErrNoKubelet),
		errors.Is(err, delivery.ErrNoBundle), errors.Is(err, issuance.ErrFailed):
		return codes.FailedPrecondition
	case errors.Is(err, issuance.ErrDenied):
		return codes.PermissionDenied
	case errors.Is(err, volume.ErrFull), errors.Is(err, volume.ErrReadOnly):
		return codes.ResourceExhausted
	case errors.Is(err, volume.ErrNotMounted):
		return codes.Unavailable
	case errors.Is(err, issuance.ErrDeleted), errors.Is(err, observe.ErrUnpublished):
		return codes.Aborted
	case errors.Is(err, observe.ErrStopping):
		return codes.Unavailable
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	var issue *issuance.Error
	if errors.As(err, &issue) && issue.Stage == issuance.StageCreate {
		return codeOfAPI(err)
	}
	return codes.Internal
}

// codeOfAPI is for what the API server said to the pod's own request.
func codeOfAPI(err error) codes.Code {
	switch {
	case apierrors.IsForbidden(err):
		return codes.PermissionDenied
	case apierrors.IsUnauthorized(err):
		return codes.Unauthenticated
	case apierrors.IsNotFound(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return codes.FailedPrecondition
	default:
		return codes.Unavailable
	}
}

// describe adds what to do about it, where that is known.
func describe(err error) string {
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), `cannot create resource "certificaterequests"`):
		return fmt.Sprintf("%v: let the pod's ServiceAccount create certificaterequests.cert-manager.io in its namespace (a Role with verb \"create\", and a RoleBinding)", err)
	case strings.Contains(err.Error(), `failed calling webhook "webhook.cert-manager.io"`):
		return fmt.Sprintf("%v: is cert-manager-webhook running?", err)
	case apierrors.IsUnauthorized(err):
		return fmt.Sprintf("%v: the API server does not accept the pod's token; has the pod been deleted?", err)
	case apierrors.IsNotFound(err) && strings.Contains(err.Error(), "could not find the requested resource"):
		return fmt.Sprintf("%v: is cert-manager installed in the cluster?", err)
	default:
		return err.Error()
	}
}
