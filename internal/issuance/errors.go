// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

var (
	// ErrDenied means that an approver denied the CertificateRequest, which is
	// final for that request.
	ErrDenied = errors.New("denied by approver")
	// ErrFailed means that the issuer gave the CertificateRequest up.
	ErrFailed = errors.New("failed")
	// ErrDeleted means that the CertificateRequest was deleted while it waited.
	ErrDeleted = errors.New("deleted before it was signed")
	// ErrBadCertificate means that the issuer signed something other than what
	// was asked for: not an X.509-SVID, of another SPIFFE ID or another key, with
	// more names or usages; or that the certificates returned with it have not signed
	// it, or each other.
	ErrBadCertificate = errors.New("issuer returned a certificate that is not the SVID that was asked for")
	// ErrNotOurs means that there is a CertificateRequest of the name that was
	// chosen, and that somebody else made it. By chance that happens once in 10^14
	// times; somebody may have learned the name, and taken it in time. A request of
	// another name can be made at once.
	ErrNotOurs = errors.New("a CertificateRequest of this name is there already, and is not the driver's")
)

// Error says why a pod has no SVID. Its text is what people read in the Events
// of the pod.
type Error struct {
	// Request is the CertificateRequest; its name is empty if there is none yet.
	Request types.NamespacedName
	// Stage is where it went wrong.
	Stage Stage
	// Err is the cause.
	Err error
}

// Error gives the request, the stage and the cause.
func (e *Error) Error() string {
	switch {
	case e.Stage == StageCreate: // there is none of this name yet
		return fmt.Sprintf("%s in namespace %s: %v", e.Stage, e.Request.Namespace, e.Err)
	case e.Request.Name == "":
		return fmt.Sprintf("%s: %v", e.Stage, e.Err)
	case errors.Is(e.Err, ErrDenied), errors.Is(e.Err, ErrFailed), errors.Is(e.Err, ErrDeleted):
		return fmt.Sprintf("CertificateRequest %s %v", e.Request, e.Err)
	default:
		return fmt.Sprintf("CertificateRequest %s: %s: %v", e.Request, e.Stage, e.Err)
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// quotaExceeded begins the reason for which the API server's admission plugin
// ResourceQuota rejects an object. It has no status reason of its own
// (k8s.io/apiserver/pkg/admission/plugin/resourcequota, CheckRequest).
const quotaExceeded = "exceeded quota: "

// IsQuotaExceeded reports whether an error of [Requester.Issue] says that a ResourceQuota
// of the pod's namespace leaves no room for another CertificateRequest. There is room
// again some time after one was deleted: kube-controller-manager counts deletions, and
// does so a little later.
func IsQuotaExceeded(err error) bool {
	var issue *Error
	return errors.As(err, &issue) && issue.Stage == StageCreate &&
		apierrors.IsForbidden(issue.Err) && strings.Contains(issue.Err.Error(), quotaExceeded)
}

// IsTransient reports whether an error of [Requester.Issue] says that the API
// server could not do it now, so that the same again may succeed: it was away,
// overloaded or broken. A refusal is not transient, though what it is about may
// change.
func IsTransient(err error) bool {
	var issue *Error
	if !errors.As(err, &issue) || issue.Stage != StageCreate && issue.Stage != StageClear {
		return false
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrNotOurs) {
		return false
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true // nothing came back
	}
	code := status.Status().Code
	return code >= http.StatusInternalServerError || code == http.StatusTooManyRequests ||
		code == http.StatusRequestTimeout || code == http.StatusConflict
}
