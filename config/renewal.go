// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// RenewalTime says when to renew an SVID that is valid from notBefore to
// notAfter: RenewBefore, or else RenewBeforePercentage of its lifetime, ahead
// of notAfter, and earlier than that by a jitter of up to a tenth of the time
// from notBefore to then. The jitter is the same for the same seed, such as a
// volume ID, in every process: a restart does not move renewals.
//
// The result is never before notBefore. It is not after notAfter, unless the
// SVID's lifetime is zero or negative, when it is notBefore.
func (c *Config) RenewalTime(notBefore, notAfter time.Time, seed string) time.Time {
	lifetime := notAfter.Sub(notBefore)
	if lifetime <= 0 {
		return notBefore
	}
	latest := lifetime - c.renewBefore(lifetime)
	jitter := time.Duration(fraction(seed) * float64(latest) / 10)
	return notBefore.Add(latest - jitter)
}

// renewBefore is less than lifetime: a fixed time that is not, because the
// issuer signed for less than was asked, would renew without end.
func (c *Config) renewBefore(lifetime time.Duration) time.Duration {
	if fixed := c.Certificate.RenewBefore; fixed > 0 && fixed < lifetime {
		return fixed
	}
	whole, percentage := int64(lifetime), int64(c.Certificate.RenewBeforePercentage)
	return time.Duration(whole/100*percentage + whole%100*percentage/100)
}

// fraction maps a seed evenly into [0, 1).
func fraction(seed string) float64 {
	const bits = 53 // as many as a float64 holds exactly
	sum := sha256.Sum256([]byte(seed))
	return float64(binary.BigEndian.Uint64(sum[:])>>(64-bits)) / (1 << bits)
}
