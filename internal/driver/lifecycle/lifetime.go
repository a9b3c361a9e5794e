// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"fmt"
	"time"
)

// lifetimeTolerance is how much longer than requested an SVID may last: the clocks of
// node and issuer differ a little.
const lifetimeTolerance = time.Minute

// Lifetime is the period in which an SVID is used. Everything that depends on how long an
// SVID lasts reckons with it: renewal and its jitter, staleness, retries and how long a
// renewal keeps its slot. None reckons with NotAfter − NotBefore, which says nothing about
// the time that is left: issuers may date certificates back, AWS Private CA by an hour.
type Lifetime struct {
	// NotBefore and NotAfter are the validity of the certificate (RFC 5280, section 4.1.2.5).
	NotBefore, NotAfter time.Time
	// Obtained is when the driver had the signed certificate, by the wall clock alone: a
	// reading of the monotonic clock would be preferred in comparisons, and follows neither
	// a clock that is set nor the time for which the machine was suspended.
	Obtained time.Time
	// Requested is how long it was to be valid; zero if that is not known.
	Requested time.Duration
}

// IsFromTheFuture reports whether the SVID was obtained by a clock that has been set back
// since: a node may boot with one that is wrong. What is left of it is more than that, and
// its beginning has to be moved to now, or the renewal would come too late.
func (l Lifetime) IsFromTheFuture(now time.Time) bool {
	const tolerance = time.Second
	return l.Obtained.After(now.Add(tolerance))
}

// From is when the lifetime begins: when the SVID was obtained, or becomes valid if that
// is later.
func (l Lifetime) From() time.Time {
	if l.Obtained.After(l.NotBefore) {
		return l.Obtained
	}
	return l.NotBefore
}

// Until is when the lifetime ends: with the certificate's validity, and no later than was
// requested. An issuer that signs for ten years where one hour was requested does not get
// a key to be used for ten years.
func (l Lifetime) Until() time.Time {
	if l.IsOverlong() {
		return l.From().Add(l.Requested)
	}
	return l.NotAfter
}

// Length is zero or negative for an SVID that had ended when it was obtained.
func (l Lifetime) Length() time.Duration { return l.Until().Sub(l.From()) }

// IsOverlong reports whether the SVID lasts longer than requested.
func (l Lifetime) IsOverlong() bool {
	return l.Requested > 0 && l.NotAfter.Sub(l.From()) > l.Requested+lifetimeTolerance
}

// IsShort reports whether the SVID lasts shorter than requested. Of a certificate that is
// dated back nobody knows when it was signed, so that a tenth counts as its way here.
func (l Lifetime) IsShort() bool {
	const rounding = 2 * time.Second // times in certificates are whole seconds
	return l.NotAfter.Sub(l.NotBefore) < l.Requested-rounding || l.Length() < l.Requested-l.Requested/10-rounding
}

// IsValid reports whether the certificate is valid.
func (l Lifetime) IsValid(now time.Time) bool {
	return now.Before(l.NotAfter) && l.ahead(now) <= 0
}

// isStale reports whether the SVID was of use when it was obtained, and more than half of
// its lifetime is over: a pod must not start with one that is about to expire, or has.
func (l Lifetime) isStale(now time.Time) bool {
	return l.Length() > 0 && now.Sub(l.From()) > l.Length()/2
}

// hasEnded reports whether the certificate is not valid any more.
func (l Lifetime) hasEnded(now time.Time) bool { return now.After(l.NotAfter) }

// ahead is how long it takes until the certificate is valid; zero or negative if it is.
func (l Lifetime) ahead(now time.Time) time.Duration { return l.NotBefore.Sub(now) }

// leastInterval is how long an SVID is kept at least. An issuer that signs for ever
// shorter, because its own certificate is about to expire, must not be asked ever faster by
// every volume.
func (l Lifetime) leastInterval() time.Duration { return min(10*time.Second, l.Requested/60) }

// longestRetry bounds the wait before the next attempt to renew by a tenth of the
// lifetime: a short one should not have ended long before. When it has ended, there is no
// more hurry than for an SVID of the requested length: an issuer that signs for seconds,
// or for nothing, must not be asked each second by every volume.
func (l Lifetime) longestRetry(now time.Time) time.Duration {
	length := l.Length()
	if l.hasEnded(now) {
		length = max(length, l.Requested)
	}
	return max(length/10, time.Second)
}

// UnusableError means that a certificate can never be used.
type UnusableError struct{ reason string }

// Error says why.
func (e *UnusableError) Error() string { return e.reason }

// unusable returns why a certificate is rejected when it arrives, or nil: it has
// expired, ends before it begins, or becomes valid later than an SVID lasts. While such a
// certificate is kept, the volume gets no other, even when the issuer's clock has been set.
func (l Lifetime) unusable(now time.Time) error {
	const advice = "set the clocks of the issuer and the node, by NTP"
	reject := func(format string, args ...any) error { return &UnusableError{fmt.Sprintf(format, args...)} }
	switch ahead := l.ahead(now); {
	case l.NotAfter.Before(l.NotBefore): // a publish would wait for its beginning, and deliver it
		return reject("it is valid at no time: from %s until %s; fix the issuer",
			l.NotBefore.UTC().Format(time.RFC3339), l.NotAfter.UTC().Format(time.RFC3339))
	case l.hasEnded(now):
		return reject("it expired at %s, %s ago by this node's clock; %s",
			l.NotAfter.UTC().Format(time.RFC3339), now.Sub(l.NotAfter).Round(time.Second), advice)
	case l.Requested > 0 && ahead > l.Requested:
		return reject("the certificate is not valid yet: the issuer's clock is ahead by %s, which is longer than certificate.duration, or this node's clock is behind; %s",
			ahead.Round(time.Second), advice)
	default:
		return nil
	}
}

// NotYetValidError means that a certificate becomes valid in the future. It is kept, and
// delivered when it is valid.
type NotYetValidError struct {
	// From is when it becomes valid, and Ahead how long that was from when it was looked at.
	From  time.Time
	Ahead time.Duration
}

// Error says by how much the clocks differ.
func (e *NotYetValidError) Error() string {
	return fmt.Sprintf("the certificate is not valid yet: the issuer's clock is ahead by %s, or this node's clock is behind; it is delivered when it is valid, at %s",
		max(e.Ahead.Round(time.Second), time.Second), e.From.UTC().Format(time.RFC3339))
}

// IsFar reports whether the certificate becomes valid later than clocks that are set by NTP
// differ.
func (e *NotYetValidError) IsFar() bool { return e.Ahead > longestAhead }
