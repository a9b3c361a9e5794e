// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// lifetimeTolerance is how much longer than requested an SVID may last: the clocks of
// node and issuer differ a little.
const lifetimeTolerance = time.Minute

// lifetime is the period in which an SVID is used. Everything that depends on how long an
// SVID lasts reckons with it: renewal and its jitter, staleness, retries and how long a
// renewal keeps its slot. None reckons with notAfter − notBefore, which says nothing about
// the time that is left: issuers may date certificates back, AWS Private CA by an hour.
type lifetime struct {
	// notBefore and notAfter are the validity of the certificate.
	notBefore, notAfter time.Time
	// obtained is when the driver had the signed certificate, by the wall clock alone: a
	// reading of the monotonic clock would be preferred in comparisons, and follows neither
	// a clock that is set nor the time for which the machine was suspended.
	obtained time.Time
	// requested is how long it was to be valid; zero if that is not known.
	requested time.Duration
}

// lifetimeOf is the lifetime of the SVID of a live volume.
func lifetimeOf(live *volume.Metadata) lifetime {
	return lifetime{live.NotBefore, live.NotAfter, live.Obtained.Round(0), live.Duration}
}

// lifetimeOfDocument is the lifetime of an SVID that is in no volume yet.
func lifetimeOfDocument(document *issuance.SVID) lifetime {
	return lifetime{document.NotBefore(), document.NotAfter(), document.Obtained.Round(0), document.Policy.Duration}
}

// isFromTheFuture reports whether the SVID was obtained by a clock that has been set back
// since: a node may boot with one that is wrong. What is left of it is more than that, and
// its beginning has to be moved to now, or the renewal would come too late.
func (l lifetime) isFromTheFuture(now time.Time) bool {
	const tolerance = time.Second
	return l.obtained.After(now.Add(tolerance))
}

// from is when the lifetime begins: when the SVID was obtained, or becomes valid if that
// is later.
func (l lifetime) from() time.Time {
	if l.obtained.After(l.notBefore) {
		return l.obtained
	}
	return l.notBefore
}

// until is when the lifetime ends: with the certificate's validity, and no later than was
// requested. An issuer that signs for ten years where one hour was requested does not get
// a key to be used for ten years.
func (l lifetime) until() time.Time {
	if l.isOverlong() {
		return l.from().Add(l.requested)
	}
	return l.notAfter
}

// length is zero or negative for an SVID that had ended when it was obtained.
func (l lifetime) length() time.Duration { return l.until().Sub(l.from()) }

// isOverlong reports whether the SVID lasts longer than requested.
func (l lifetime) isOverlong() bool {
	return l.requested > 0 && l.notAfter.Sub(l.from()) > l.requested+lifetimeTolerance
}

// isShort reports whether the SVID lasts shorter than requested. Of a certificate that is
// dated back nobody knows when it was signed, so that a tenth counts as its way here.
func (l lifetime) isShort() bool {
	const rounding = 2 * time.Second // times in certificates are whole seconds
	return l.notAfter.Sub(l.notBefore) < l.requested-rounding || l.length() < l.requested-l.requested/10-rounding
}

// isStale reports whether the SVID was of use when it was obtained, and more than half of
// its lifetime is over: a pod must not start with one that is about to expire, or has.
func (l lifetime) isStale(now time.Time) bool {
	return l.length() > 0 && now.Sub(l.from()) > l.length()/2
}

// hasEnded reports whether the certificate is not valid any more (RFC 5280, section 4.1.2.5).
func (l lifetime) hasEnded(now time.Time) bool { return now.After(l.notAfter) }

// ahead is how long it takes until the certificate is valid; zero or negative if it is.
func (l lifetime) ahead(now time.Time) time.Duration { return l.notBefore.Sub(now) }

// leastInterval is how long an SVID is kept at least. An issuer that signs for ever
// shorter, because its own certificate is about to expire, must not be asked ever faster by
// every volume.
func (l lifetime) leastInterval() time.Duration { return min(10*time.Second, l.requested/60) }

// longestRetry bounds the wait before the next attempt to renew by a tenth of the
// lifetime: a short one should not have ended long before. When it has ended, there is no
// more hurry than for an SVID of the requested length: an issuer that signs for seconds,
// or for nothing, must not be asked each second by every volume.
func (l lifetime) longestRetry(now time.Time) time.Duration {
	length := l.length()
	if l.hasEnded(now) {
		length = max(length, l.requested)
	}
	return max(length/10, time.Second)
}

// errUnusable returns why a certificate is rejected when it arrives, or nil: it has
// expired, ends before it begins, or becomes valid later than an SVID lasts. While such a
// certificate is kept, the volume gets no other, even when the issuer's clock has been set.
func (l lifetime) errUnusable(now time.Time) error {
	const advice = "set the clocks of the issuer and the node, by NTP"
	switch ahead := l.ahead(now); {
	case l.notAfter.Before(l.notBefore): // a publish would wait for its beginning, and deliver it
		return fmt.Errorf("%w: it is valid at no time: from %s until %s; mend the issuer",
			issuance.ErrBadCertificate, l.notBefore.UTC().Format(time.RFC3339), l.notAfter.UTC().Format(time.RFC3339))
	case l.hasEnded(now):
		return fmt.Errorf("%w: it expired at %s, %s ago by this node's clock; %s",
			issuance.ErrBadCertificate, l.notAfter.UTC().Format(time.RFC3339), now.Sub(l.notAfter).Round(time.Second), advice)
	case l.requested > 0 && ahead > l.requested:
		return fmt.Errorf("%w: the certificate is not valid yet: the issuer's clock is ahead by %s, which is longer than certificate.duration, or this node's clock is behind; %s",
			issuance.ErrBadCertificate, ahead.Round(time.Second), advice)
	default:
		return nil
	}
}

// longestAhead is how far in the future an SVID may become valid for a publish to wait.
// Clocks that are set by NTP differ by less.
const longestAhead = time.Minute

// notYetValidError means that a certificate becomes valid in the future. It is kept, and
// delivered when it is valid.
type notYetValidError struct {
	from  time.Time
	ahead time.Duration
}

// Error says by how much the clocks differ.
func (e *notYetValidError) Error() string {
	return fmt.Sprintf("the certificate is not valid yet: the issuer's clock is ahead by %s, or this node's clock is behind; it is delivered when it is valid, at %s",
		max(e.ahead.Round(time.Second), time.Second), e.from.UTC().Format(time.RFC3339))
}

// notYetValid returns a [*notYetValidError] if the certificate of a request is not valid
// yet, and nil otherwise.
func (l lifetime) notYetValid(request types.NamespacedName, now time.Time) error {
	ahead := l.ahead(now)
	if ahead <= 0 {
		return nil
	}
	return &issuance.Error{Request: request, Stage: issuance.StageVerify, Err: &notYetValidError{l.notBefore, ahead}}
}

// take collects the SVID that a request has brought, or the error. One that is not valid
// yet is left where it is, for as long as the one in the volume lasts: a
// [*notYetValidError] says when to ask again.
func (s *volumeState) take(f *flight, now time.Time) error {
	if f.err == nil {
		early := lifetimeOfDocument(f.document).notYetValid(f.document.Request, now)
		if live := s.metadata(); early != nil && (live == nil || !lifetimeOf(live).hasEnded(now)) {
			return early
		}
	}
	s.collected(f)
	return f.err
}

// waitUntilValid waits for the validity of a pod's first SVID, if that is not far off.
func (f *flight) waitUntilValid(ctx context.Context, document *issuance.SVID) error {
	l := lifetimeOfDocument(document)
	for {
		now := time.Now()
		early := l.notYetValid(document.Request, now)
		if early == nil || l.ahead(now) > longestAhead || f.attempt.Operation() != observe.Publishing {
			return nil
		}
		f.progress.Report(early)
		select {
		case <-ctx.Done():
			return f.progress.Err(context.Cause(ctx))
		case <-time.After(min(l.ahead(now), time.Second)): // the clock may be set meanwhile
		}
	}
}

// correctObtained moves the beginning of the lifetimes of live volumes that were obtained by
// a clock which has been set back since, and plans their renewals anew.
func (d *Driver) correctObtained() {
	d.volumes.each(func(state *volumeState) {
		if live := state.metadata(); live == nil || !lifetimeOf(live).isFromTheFuture(time.Now()) {
			return
		}
		state.hold()
		d.background.Go(func() { // whoever changes the volume now may take long
			defer d.volumes.release(state)
			d.correctObtainedOf(state)
		})
	})
}

func (d *Driver) correctObtainedOf(state *volumeState) {
	if state.lock(d.life) != nil {
		return
	}
	defer state.unlock()
	live, now := state.metadata(), time.Now()
	if live == nil || !lifetimeOf(live).isFromTheFuture(now) {
		return
	}
	corrected := *live
	corrected.Obtained = now
	if err := d.store.WriteMetadata(state.id, corrected); err != nil {
		d.log.Warn("could not note that the clock of the node was set back", append(observe.LogFieldsOf(state.id, live).KeysAndValues(0), "error", err)...)
	}
	d.setLiveMetadata(state, live, &corrected)
}

// setLiveMetadata replaces what is known of a live volume if it is still the same, and
// plans its renewal unless that is to be tried again after a failure.
func (d *Driver) setLiveMetadata(state *volumeState, before, after *volume.Metadata) {
	state.mu.Lock()
	same, failing := state.live == before, state.failures > 0
	if same {
		state.live = after
	}
	state.mu.Unlock()
	if same && !failing {
		d.plan(d.config.Current(), state, after)
	}
}

// deliverLater has the SVID of a renewal that is not valid yet delivered when it is, or
// when the one in the volume has expired, whichever comes first.
func (d *Driver) deliverLater(state *volumeState, early *notYetValidError, cause error) {
	live := state.metadata()
	if live == nil {
		return
	}
	at := early.from
	if expires := live.NotAfter.Add(time.Second); expires.Before(at) {
		at = expires
	}
	// The schedule takes no notice of a clock that is set by less than this.
	if soon := time.Now().Add(100 * time.Millisecond); at.Before(soon) {
		at = soon
	}
	level := slog.LevelInfo
	if early.ahead > longestAhead {
		level = slog.LevelWarn
		state.mu.Lock()
		state.noteError(cause)
		state.mu.Unlock()
	}
	d.log.Log(d.life, level, "the renewed SVID is not valid yet; it is delivered when it is", append(observe.LogFieldsOf(state.id, live).KeysAndValues(0), "validFrom", early.from, "ahead", early.ahead, "delivery", at)...)
	d.schedule.Schedule(state.id, at)
}

// compareLifetime tells if the issuer has signed for less than it was asked to. It
// may, and renewals follow what it has signed for, but somebody has to know: there
// are more of them, and less time to mend what keeps them from happening.
func (d *Driver) compareLifetime(state *volumeState, live *volume.Metadata) {
	if l := lifetimeOf(live); l.isShort() {
		d.log.Warn("the issuer has signed for less than certificate.duration", "volume", state.id, "pod", live.Pod(),
			"request", live.Request, "asked", live.Duration, "got", l.length().Round(time.Second))
	}
	d.warnOverlong(state, live)
}

// warnOverlong tells if the issuer has signed for more than it was asked to. Renewals
// do not follow that, but whoever gets the key can use it until the certificate expires.
func (d *Driver) warnOverlong(state *volumeState, live *volume.Metadata) {
	if l := lifetimeOf(live); l.isOverlong() {
		d.log.Warn("the issuer has signed for more than certificate.duration; the SVID is renewed as if it had not", "volume", state.id, "pod", live.Pod(),
			"request", live.Request, "asked", live.Duration, "got", l.notAfter.Sub(l.from()).Round(time.Second))
	}
}
