// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// keepError is for how long a request that failed speaks for the next attempt.
const keepError = time.Minute

// isStale reports whether what the request brought is of no use any more,
// because nobody has collected it for long.
func (f *flight) isStale(now time.Time) bool {
	select {
	case <-f.landed:
	default:
		return false
	}
	if errors.Is(f.err, errReplaced) {
		return true
	}
	if f.err != nil {
		return now.Sub(f.landedAt) > keepError
	}
	return isLate(f.document, f.began, now)
}

// isLate reports whether a document that was asked for at some time, or later, has
// less than half of its lifetime left: a pod must not start with one that is about
// to expire, or has. One that was asked for only now is not late, whatever it says:
// it is the clocks that differ, and another one would say the same.
func isLate(document *issuance.Document, asked, now time.Time) bool {
	// Issuers may date certificates back, some by an hour.
	half := min(document.NotAfter().Sub(document.NotBefore()), document.Policy.Duration) / 2
	return document.NotAfter().Sub(now) < half && now.Sub(asked) > half
}
