// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csiserver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/delivery"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func TestToStatus(t *testing.T) {
	t.Parallel()
	request := types.NamespacedName{Namespace: "sandbox", Name: "web-0-x2b4"}
	at := func(stage issuance.Stage, err error) error {
		return &issuance.Error{Request: request, Stage: stage, Err: err}
	}
	resource := schema.GroupResource{Group: "cert-manager.io", Resource: "certificaterequests"}
	for _, row := range []struct {
		name     string
		err      error
		code     codes.Code
		fragment string
	}{
		{"refused", fmt.Errorf("%w: field x", mounts.ErrRefused), codes.InvalidArgument, "volume refused: field x"},
		{"another pod's token", fmt.Errorf("%w: x", manager.ErrWrongPod), codes.InvalidArgument, "not of the pod"},
		{"malformed token", fmt.Errorf("x: %w", spiffe.ErrMalformedToken), codes.InvalidArgument, "malformed"},
		{"claims", fmt.Errorf("x: %w", spiffe.ErrTokenClaims), codes.InvalidArgument, "pod-bound"},
		{"no token", csiserver.ErrNoToken, codes.FailedPrecondition, "spec.requiresRepublish"},
		{"another volume is there", fmt.Errorf("%w: x", mounts.ErrOccupied), codes.FailedPrecondition, "in use by another volume"},
		{"something else is there", fmt.Errorf("%w: x", mounts.ErrTargetInUse), codes.FailedPrecondition, "in use by something else"},
		{"no kubelet", fmt.Errorf("%w: x", mounts.ErrNoKubelet), codes.FailedPrecondition, "the kubelet's folder is not there"},
		{"no trust bundle", delivery.ErrNoBundle, codes.FailedPrecondition, "trustBundle.required"},
		{"no room in the tmpfs", fmt.Errorf("x: %w", volume.ErrFull), codes.ResourceExhausted, "x"},
		{"the tmpfs is read-only", fmt.Errorf("x: %w", volume.ErrReadOnly), codes.ResourceExhausted, "x"},
		{"no tmpfs", fmt.Errorf("x: %w", volume.ErrNotMounted), codes.Unavailable, "x"},
		{"denied", at(issuance.StageApprove, fmt.Errorf("%w: duration", issuance.ErrDenied)), codes.PermissionDenied, "sandbox/web-0-x2b4 denied by approver: duration"},
		{"failed", at(issuance.StageSign, fmt.Errorf("%w: no CA", issuance.ErrFailed)), codes.FailedPrecondition, "sandbox/web-0-x2b4 failed: no CA"},
		{"deleted", at(issuance.StageSign, issuance.ErrDeleted), codes.Aborted, "deleted before it was signed"},
		{"unpublished meanwhile", at(issuance.StageApprove, observe.ErrUnpublished), codes.Aborted, "unpublished"},
		{"not the SVID", at(issuance.StageVerify, fmt.Errorf("%w: x", issuance.ErrBadCertificate)), codes.Internal, "not the SVID"},
		{"time is up", at(issuance.StageApprove, context.DeadlineExceeded), codes.DeadlineExceeded, "waiting for approval"},
		{"time is up, before anything", context.DeadlineExceeded, codes.DeadlineExceeded, ""},
		{"time is up while creating", at(issuance.StageCreate, context.DeadlineExceeded), codes.DeadlineExceeded, "creating a CertificateRequest"},
		{"the kubelet hung up", at(issuance.StageSign, context.Canceled), codes.Canceled, "issuer"},
		{"stopping", at(issuance.StageSign, observe.ErrStopping), codes.Unavailable, "stopping"},
		{"stopping, though time is up too", errors.Join(context.DeadlineExceeded, observe.ErrStopping), codes.Unavailable, ""},
		{"forbidden", at(issuance.StageCreate, apierrors.NewForbidden(resource, "", errors.New(`User "x" cannot create resource "certificaterequests" in API group`))), codes.PermissionDenied, "a Role with verb \"create\""},
		{"over quota", at(issuance.StageCreate, apierrors.NewForbidden(resource, "", errors.New("exceeded quota"))), codes.PermissionDenied, "exceeded quota"},
		{"token not accepted", at(issuance.StageCreate, apierrors.NewUnauthorized("x")), codes.Unauthenticated, "has the pod been deleted?"},
		{"no cert-manager", at(issuance.StageCreate, apierrors.NewGenericServerResponse(404, "post", resource, "", "", 0, true)), codes.FailedPrecondition, "is cert-manager installed"},
		{"no webhook", at(issuance.StageCreate, apierrors.NewInternalError(errors.New(`failed calling webhook "webhook.cert-manager.io": x`))), codes.Unavailable, "is cert-manager-webhook running?"},
		{"a webhook objects", at(issuance.StageCreate, apierrors.NewBadRequest("x")), codes.FailedPrecondition, "x"},
		{"not valid", at(issuance.StageCreate, apierrors.NewInvalid(schema.GroupKind{}, "", nil)), codes.FailedPrecondition, ""},
		{"the API server is overloaded", at(issuance.StageCreate, apierrors.NewTooManyRequests("x", 1)), codes.Unavailable, "x"},
		{"the API server is away", at(issuance.StageCreate, errors.New("connection refused")), codes.Unavailable, "connection refused"},
		{"no key can be made", at(issuance.StagePrepare, errors.New("entropy")), codes.Internal, "entropy"},
		{"the store", fmt.Errorf("x: %w", volume.ErrDamaged), codes.Internal, "damaged"},
		{"anything else", errors.New("disk full"), codes.Internal, "disk full"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			s.volumes.publishErr = row.err
			_, err := s.NodePublishVolume(t.Context(), s.publishRequest())
			got := status.Convert(err)
			if got.Code() != row.code || !strings.Contains(got.Message(), row.fragment) {
				t.Errorf("got %s: %s\nwant %s: …%s…", got.Code(), got.Message(), row.code, row.fragment)
			}
		})
	}
}
