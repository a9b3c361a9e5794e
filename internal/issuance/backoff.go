// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

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
