// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"math/rand/v2"
	"time"
)

const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// Backoff returns how long to wait after the given number of failures in a row
// (1 for the first): doubling from a second to five minutes, and between half
// and the whole of that by chance, so that volumes which failed together do not
// come back together.
func Backoff(failures int) time.Duration {
	wait := lastRetry
	if shift := max(failures-1, 0); shift < 9 {
		wait = min(firstRetry<<shift, lastRetry)
	}
	return wait/2 + rand.N(wait/2)
}
