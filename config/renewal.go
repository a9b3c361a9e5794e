// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// RenewalTime says when to renew an SVID that is used from one time until another:
// RenewBefore, or else RenewBeforePercentage of that period, ahead of its end, and
// earlier than that by a jitter of up to a tenth of the time from its beginning to then.
// The jitter is the same for the same seed, such as a volume ID, in every process: a
// restart does not move renewals.
//
// The period begins when the certificate was obtained, not with its notBefore: issuers
// may date certificates back, AWS Private CA by an hour, and that is not time in which
// the SVID was used.
//
// The result is never before from. It is before until, unless the period is zero or
// negative, when it is from.
func (c *Config) RenewalTime(from, until time.Time, seed string) time.Time {
	latest := c.latestRenewal(from, until)
	return latest.Add(-part(fraction(seed)/10, latest.Sub(from)))
}

// EarlyRenewalTime is RenewalTime with a jitter of up to a half. It is for SVIDs
// that were issued together with many others, of which a tenth would make the same
// crowd again, cycle after cycle. Two renewals in a row that are early by the same
// part are spread over a whole cycle, and from then on they come evenly.
func (c *Config) EarlyRenewalTime(from, until time.Time, seed string) time.Time {
	latest := c.latestRenewal(from, until)
	return latest.Add(-part(fraction("early "+seed)/2, latest.Sub(from)))
}

// latestRenewal is the time of renewal without jitter.
func (c *Config) latestRenewal(from, until time.Time) time.Time {
	lifetime := until.Sub(from)
	if lifetime <= 0 {
		return from
	}
	return from.Add(lifetime - c.renewBefore(lifetime))
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
