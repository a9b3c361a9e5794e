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
	latest := c.latestRenewal(notBefore, notAfter)
	return latest.Add(-part(fraction(seed)/10, latest.Sub(notBefore)))
}

// EarlyRenewalTime is RenewalTime with a jitter of up to a half. It is for SVIDs
// that were issued together with many others, of which a tenth would make the same
// crowd again, cycle after cycle. Two renewals in a row that are early by the same
// part are spread over a whole cycle, and from then on they come evenly.
//
// The half is of the time since the SVID was issued, as far as can be told:
// issuers may date certificates back, some by an hour.
func (c *Config) EarlyRenewalTime(notBefore, notAfter time.Time, seed string) time.Time {
	issued := notAfter.Add(-c.Certificate.Duration)
	if issued.Before(notBefore) {
		issued = notBefore
	}
	latest := c.latestRenewal(notBefore, notAfter)
	return latest.Add(-part(fraction("early "+seed)/2, max(0, latest.Sub(issued))))
}

// latestRenewal is the time of renewal without jitter.
func (c *Config) latestRenewal(notBefore, notAfter time.Time) time.Time {
	lifetime := notAfter.Sub(notBefore)
	if lifetime <= 0 {
		return notBefore
	}
	return notBefore.Add(lifetime - c.renewBefore(lifetime))
}

func part(part float64, of time.Duration) time.Duration { return time.Duration(part * float64(of)) }

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
