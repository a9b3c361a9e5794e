// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"encoding/binary"
	"time"
)

// This file opens the state to the search in search_test.go, which must tell states apart,
// and looks at what nobody else may see.

// Timers are all timers, and Timers-1 the last one.
const Timers = timers

// Limits that tests reckon with.
const (
	LongestAhead  = longestAhead
	KeepError     = keepError
	MostNames     = mostNames
	QuotaWait     = quotaWait
	EarlyRenewals = earlyRenewals
	MostHold      = mostHold
)

// Backoff is backoff, and IsStale and Unusable are what is judged when an SVID arrives.
func Backoff(failures int, first, most time.Duration, chance float64) time.Duration {
	return backoff(failures, first, most, chance)
}

// Fraction is fraction.
func Fraction(seed string) float64 { return fraction(seed) }

// IsStale is isStale.
func (l Lifetime) IsStale(now time.Time) bool { return l.isStale(now) }

// Unusable is unusable.
func (l Lifetime) Unusable(now time.Time) error { return l.unusable(now) }

// LongestRetry is longestRetry.
func (l Lifetime) LongestRetry(now time.Time) time.Duration { return l.longestRetry(now) }

// IsArmed reports whether a timer was started, and has neither ended nor been stopped.
func (s *State) IsArmed(t Timer) bool { return s.armed[t] }

// Progress returns how far the request has come.
func (s *State) Progress() Progress { return s.issuance.progress }

// Pod returns the pod of the latest token.
func (s *State) Pod() Pod { return s.pod }

// HasToken reports whether the latest token is still good.
func (s *State) HasToken(now time.Time) bool { return now.Before(s.tokenExpiry) }

// IsDoing reports whether the result of an action is waited for.
func (s *State) IsDoing() bool { return s.doing }

// IsParked reports whether an SVID that was issued waits for the next renewal.
func (s *State) IsParked() bool { return s.issuance.parked }

// Calls returns how many calls have not been answered.
func (s *State) Calls() int { return len(s.calls) }

// Canon gives what differs between states that behave alike the same numbers.
type Canon struct {
	Now     time.Time
	Request func(name string) byte
	Call    func(id CallID) byte
	Err     func(err error) byte
}

// AppendKey appends a text that two states share if they behave alike from now on.
func (s *State) AppendKey(b []byte, c *Canon) []byte {
	b = append(b, byte(len(s.calls)))
	for i := range s.calls {
		call := &s.calls[i]
		b = append(b, c.Call(call.id), flags(call.unpublish), byte(call.phase), c.Err(call.err))
		b = text(text(b, call.target), call.pod.UID)
	}
	b = text(b, s.pod.UID)
	b = c.time(b, s.tokenExpiry)
	b = append(b, flags(s.hasVolume, s.recovered, s.damaged, s.needsToken, s.reissue, s.doing, s.content.outdated))
	if s.hasVolume {
		b = c.Volume(b, &s.volume)
	}
	if s.written != (Volume{}) {
		b = c.Volume(b, &s.written)
	}
	b = append(b, c.Request(s.open.Request))
	b = c.Order(b, &s.open.Order)
	i := &s.issuance
	b = append(b, byte(i.phase), flags(bool(i.purpose), i.cleared, i.renewedStale, i.parked), byte(i.progress), byte(min(i.tries, 2)), byte(i.names), byte(i.quotaWaited/time.Second), c.Err(i.err))
	b = c.Order(b, &i.order)
	if i.svid != (SVID{}) {
		b = c.svid(b, &i.svid)
	}
	r := &s.renewal
	b = append(b, flags(r.active, r.slot, r.maxHold > 0))
	b = c.Plan(b, s.due)
	b = append(b, byte(min(s.failures, 2)))
	b = binary.AppendVarint(b, int64(s.plannedBy.RenewBefore))
	b = append(b, byte(min(s.content.failures, 2)))
	b = c.Plan(b, s.content.next)
	return append(b, flags(s.armed[:]...))
}

func text(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func flags(all ...bool) (b byte) {
	for i, is := range all {
		if is {
			b |= 1 << i
		}
	}
	return b
}

func (c *Canon) time(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0xff)
	}
	return binary.AppendVarint(b, int64(t.Sub(c.Now)/time.Millisecond))
}

// Plan appends a plan. After which time something is to be done makes no difference: it may
// come at any time.
func (c *Canon) Plan(b []byte, p Plan) []byte {
	b = append(b, flags(p.Set, p.At.IsZero()))
	if p.Set && !p.At.IsZero() {
		b = c.time(b, p.At)
	}
	return b
}

// Order appends an order.
func (c *Canon) Order(b []byte, o *Order) []byte {
	b = text(text(text(text(b, o.Policy), o.Identity), o.Pod.UID), o.Pod.ServiceAccount)
	return binary.AppendVarint(b, int64(o.Duration))
}

func (c *Canon) svid(b []byte, s *SVID) []byte {
	b = c.time(c.time(c.time(b, s.NotBefore), s.NotAfter), s.Obtained)
	b = binary.AppendVarint(b, int64(s.Requested))
	return append(text(b, s.Identity), c.Request(s.Request))
}

// Volume appends what a pod has.
func (c *Canon) Volume(b []byte, v *Volume) []byte {
	b = c.svid(b, &v.SVID)
	content, _ := v.Content.(string)
	return append(text(text(text(b, v.PodUID), v.Target), content), byte(v.EarlyRenewals))
}
