// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

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

const (
	firstQuotaRetry = 100 * time.Millisecond
	lastQuotaRetry  = time.Second
)

// QuotaRetryAfter returns how long to wait for room in a quota after the given number of
// attempts that found none (1 for the first), when something was deleted to make room:
// doubling from a tenth of a second to a second, and between half and the whole of that
// by chance.
func QuotaRetryAfter(failures int) time.Duration {
	return backoff(failures, firstQuotaRetry, lastQuotaRetry)
}

// IsQuotaExceeded reports whether an error of [Requester.Issue] says that a ResourceQuota
// of the pod's namespace leaves no room for another CertificateRequest. There is room
// again some time after one was deleted: kube-controller-manager counts deletions, and
// does so a little later.
func IsQuotaExceeded(err error) bool {
	var issue *Error
	return errors.As(err, &issue) && issue.Stage == StageCreate &&
		apierrors.IsForbidden(issue.Err) && strings.Contains(issue.Err.Error(), quotaExceeded)
}

const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// Backoff returns how long to wait after the given number of failures in a row
// (1 for the first): doubling from a second to five minutes, and between half
// and the whole of that by chance, so that volumes which failed together do not
// come back together.
func Backoff(failures int) time.Duration { return BackoffWithin(failures, lastRetry) }

// BackoffWithin is [Backoff] that doubles to most at most. What is there by then is
// still put between half and the whole of it by chance.
func BackoffWithin(failures int, most time.Duration) time.Duration {
	return backoff(failures, firstRetry, min(lastRetry, most))
}

// backoff doubles from first to most, and returns between half and the whole of that by
// chance.
func backoff(failures int, first, most time.Duration) time.Duration {
	const mostDoublings = 16 // far from overflowing, and beyond every most
	wait := min(first<<min(max(failures-1, 0), mostDoublings), most)
	return wait/2 + rand.N(max(wait/2, 1))
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

// RetryAfter returns how long to wait after the given number of failures in a
// row, of which err is the last: as [Backoff] says but at most so long, and at
// least as long as the API server has asked for, with a jitter on top.
func RetryAfter(err error, failures int, most time.Duration) time.Duration {
	wait := BackoffWithin(failures, most)
	if seconds, asked := apierrors.SuggestsClientDelay(err); asked && seconds > 0 {
		least := time.Duration(seconds) * time.Second
		wait = max(wait, least+rand.N(least/2))
	}
	return wait
}
