// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"time"
)

// earlyRenewals is how many renewals of a volume come early that may have got its SVID
// together with many others, all over the cluster: on nodes that start, in a re-issue, or
// when an issuer is back that was away. Two make a crowd a steady stream: two renewals in a
// row that are early by the same part are spread over a whole cycle, and from then on they
// come evenly.
const earlyRenewals = 2

// Timing says when an SVID is renewed: RenewBefore, or else RenewBeforePercentage of its
// lifetime, ahead of its end (certificate.renewBefore and certificate.renewBeforePercentage).
type Timing struct {
	RenewBefore           time.Duration
	RenewBeforePercentage int
}

// RenewalTime is when the SVID of a volume is to be renewed. A jitter of up to a tenth of
// the time until then makes it earlier, and of up to a half if the volume has early renewals
// left. The jitter is the same for the same volume ID in every process: a restart does not
// move renewals.
//
// The lifetime begins when the certificate was obtained, not with its NotBefore: issuers may
// date certificates back, and that is not time in which the SVID was used.
//
// The result is not before the lifetime begins. It is before its end, unless the lifetime is
// shorter than the least interval between two renewals.
func (t Timing) RenewalTime(id string, v Volume) time.Time {
	from := v.From()
	latest := t.latest(from, v.Until())
	jitter := fraction(id) / 10
	if v.EarlyRenewals > 0 {
		jitter = fraction("early "+id) / 2
	}
	due := latest.Add(-part(jitter, latest.Sub(from)))
	if earliest := from.Add(v.leastInterval()); due.Before(earliest) {
		return earliest
	}
	return due
}

// latest is the time of renewal without jitter.
func (t Timing) latest(from, until time.Time) time.Time {
	length := until.Sub(from)
	if length <= 0 {
		return from
	}
	return from.Add(length - t.renewBefore(length))
}

// renewBefore is less than length: a fixed time that is not, because the issuer signed for
// less than was asked, would renew without end.
func (t Timing) renewBefore(length time.Duration) time.Duration {
	if t.RenewBefore > 0 && t.RenewBefore < length {
		return t.RenewBefore
	}
	whole, percentage := int64(length), int64(t.RenewBeforePercentage)
	return time.Duration(whole/100*percentage + whole%100*percentage/100)
}

const (
	firstRetry      = time.Second
	lastRetry       = 5 * time.Minute
	firstQuotaRetry = 100 * time.Millisecond
	lastQuotaRetry  = time.Second
)

// backoff returns how long to wait after the given number of failures in a row (1 for the
// first): doubling from first to most, and between half and the whole of that by a chance
// from [0, 1), so that volumes which failed together do not come back together.
func backoff(failures int, first, most time.Duration, chance float64) time.Duration {
	const mostDoublings = 16 // far from overflowing, and beyond every most
	wait := min(first<<min(max(failures-1, 0), mostDoublings), most)
	return wait/2 + part(chance, wait/2)
}

// chance is a number from [0, 1) that differs between volumes and between moments.
func (m *machine) chance(salt int) float64 {
	return fraction(m.ID + " " + strconv.Itoa(salt) + " " + m.now.String())
}

func part(part float64, of time.Duration) time.Duration { return time.Duration(part * float64(of)) }

// fraction maps a seed evenly into [0, 1).
func fraction(seed string) float64 {
	const bits = 53 // as many as a float64 holds exactly
	sum := sha256.Sum256([]byte(seed))
	return float64(binary.BigEndian.Uint64(sum[:])>>(64-bits)) / (1 << bits)
}
