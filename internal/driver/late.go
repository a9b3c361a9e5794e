// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"time"
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
	if f.abandoned || errors.Is(f.err, errReplaced) {
		return true
	}
	if f.err != nil {
		return now.Sub(f.landedAt) > keepError
	}
	l := lifetimeOfDocument(f.document)
	return l.isStale(now) || l.hasEnded(now)
}
