// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// lifetimeTolerance is by how much longer than requested an SVID may last: the clocks
// of node and issuer differ a little.
const lifetimeTolerance = time.Minute

// lifetime is for how long the SVID of a live volume is used: for as long as it is
// valid, and no longer than was requested, from when it was obtained. An issuer that
// signs for ten years where one hour was requested does not get a key to be used for
// ten years.
func lifetime(live *volume.Metadata) (from, until time.Time) {
	from, until = live.NotBefore, live.NotAfter
	if !isOverlong(live) {
		return from, until
	}
	if live.Obtained.After(from) {
		from = live.Obtained
	}
	return from, live.Obtained.Add(live.Duration)
}

// lifetimeOf is how long that is.
func lifetimeOf(live *volume.Metadata) time.Duration {
	from, until := lifetime(live)
	return until.Sub(from)
}

// isOverlong reports whether the SVID of a live volume lasts longer than was requested.
func isOverlong(live *volume.Metadata) bool {
	return live.Duration > 0 && !live.Obtained.IsZero() && live.NotAfter.Sub(live.Obtained) > live.Duration+lifetimeTolerance
}

// guessObtained sets when an SVID was obtained, if that was not recorded. An issuer
// that signs for what is requested did so that time before the end.
func guessObtained(live *volume.Metadata, now time.Time) {
	live.Obtained = live.NotAfter.Add(-live.Duration)
	if live.Obtained.After(now) {
		live.Obtained = now
	}
	if live.Obtained.Before(live.NotBefore) {
		live.Obtained = live.NotBefore
	}
}

// compareLifetime tells if the issuer has signed for less than it was asked to. It
// may, and renewals follow what it has signed for, but somebody has to know: there
// are more of them, and less time to mend what keeps them from happening.
func (d *Driver) compareLifetime(state *volumeState, live *volume.Metadata) {
	const tolerance = 2 * time.Second // times in certificates are whole seconds
	if got := live.NotAfter.Sub(live.NotBefore); got < live.Duration-tolerance {
		d.log.Warn("the issuer has signed for less than certificate.duration", "volume", state.id, "pod", live.Pod(),
			"request", live.Request, "asked", live.Duration, "got", got)
	}
	d.warnOverlong(state, live)
}

// warnOverlong tells if the issuer has signed for more than it was asked to. Renewals
// do not follow that, but whoever gets the key can use it until the certificate expires.
func (d *Driver) warnOverlong(state *volumeState, live *volume.Metadata) {
	if isOverlong(live) {
		d.log.Warn("the issuer has signed for more than certificate.duration; the SVID is renewed as if it had not", "volume", state.id, "pod", live.Pod(),
			"request", live.Request, "asked", live.Duration, "got", live.NotAfter.Sub(live.Obtained).Round(time.Second))
	}
}
