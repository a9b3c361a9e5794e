// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/quick"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// An SVID is used from when it was obtained, for as long as it is valid, and no longer
// than was requested.
func TestLifetime(t *testing.T) {
	t.Parallel()
	obtained := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := obtained.Add
	const year = 365 * 24 * time.Hour
	for _, row := range []struct {
		name                string
		notBefore, notAfter time.Time
		from, until         time.Time
		overlong, short     bool
	}{
		{"as requested", at(0), at(time.Hour), at(0), at(time.Hour), false, false},
		{"dated back by an hour", at(-time.Hour), at(time.Hour), at(0), at(time.Hour), false, false},
		{"dated back by a year", at(-year), at(time.Hour), at(0), at(time.Hour), false, false},
		{"signed a while ago", at(-5 * time.Minute), at(55 * time.Minute), at(0), at(55 * time.Minute), false, false},
		{"the issuer's clock is behind", at(-20 * time.Second), at(time.Hour - 20*time.Second), at(0), at(time.Hour - 20*time.Second), false, false},
		{"the issuer's clock is ahead", at(30 * time.Second), at(time.Hour + 30*time.Second), at(30 * time.Second), at(time.Hour + 30*time.Second), false, false},
		{"the issuer's clock is far ahead", at(time.Hour), at(2 * time.Hour), at(time.Hour), at(2 * time.Hour), false, false},
		{"less than requested", at(0), at(20 * time.Minute), at(0), at(20 * time.Minute), false, true},
		{"less than requested, dated back", at(-time.Hour), at(20 * time.Minute), at(0), at(20 * time.Minute), false, true},
		{"two hours", at(0), at(2 * time.Hour), at(0), at(time.Hour), true, false},
		{"ten years", at(-time.Minute), at(10 * year), at(0), at(time.Hour), true, false},
		{"ten years, dated back by a day", at(-24 * time.Hour), at(10 * year), at(0), at(time.Hour), true, false},
		{"ten years, the issuer's clock ahead", at(time.Minute), at(10 * year), at(time.Minute), at(time.Hour + time.Minute), true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := testConfig(t, "certificate: {duration: 1h}")
			live := &volume.Metadata{NotBefore: row.notBefore, NotAfter: row.notAfter, Obtained: obtained, Duration: time.Hour}
			l := lifetimeOf(live)
			if !l.from().Equal(row.from) || !l.until().Equal(row.until) || l.length() != row.until.Sub(row.from) {
				t.Errorf("used from %s until %s, want %s to %s", l.from(), l.until(), row.from, row.until)
			}
			if l.isOverlong() != row.overlong || l.isShort() != row.short {
				t.Errorf("longer than requested: %t, shorter: %t, want %t and %t", l.isOverlong(), l.isShort(), row.overlong, row.short)
			}
			for range earlyRenewals + 1 {
				want := c.RenewalTime(row.from, row.until, testVolume)
				if live.EarlyRenewals > 0 {
					want = c.EarlyRenewalTime(row.from, row.until, testVolume)
				}
				if got := renewalTime(c, testVolume, live); !got.Equal(want) {
					t.Errorf("renewal at %s, want %s", got, want)
				}
				live.EarlyRenewals++
			}
		})
	}
}

// Whatever notBefore an issuer has chosen in the past, everything that depends on the
// lifetime is as if it had chosen now.
func TestNotBeforeInThePastMakesNoDifference(t *testing.T) {
	t.Parallel()
	configs := []string{"certificate: {duration: 1h}", "certificate: {duration: 1h, renewBefore: 20m}", "certificate: {duration: 30m, renewBeforePercentage: 90}"}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	property := func(back uint32, lasts uint16, passed uint16, early uint8, seed string) bool {
		for _, settings := range configs {
			c := testConfig(t, settings)
			good := volume.Metadata{
				NotBefore: now, NotAfter: now.Add(time.Duration(lasts)*time.Second + time.Second), Obtained: now,
				Duration: c.Certificate.Duration, IdentityHash: c.Policy().IdentityHash(), EarlyRenewals: int(early % 3),
			}
			datedBack, then := good, now.Add(time.Duration(passed)*time.Second)
			datedBack.NotBefore = now.Add(-time.Duration(back) * time.Second)
			a, b := lifetimeOf(&good), lifetimeOf(&datedBack)
			if !renewalTime(c, seed, &good).Equal(renewalTime(c, seed, &datedBack)) ||
				earlyAfter(c, seed, &good, then) != earlyAfter(c, seed, &datedBack, then) ||
				patience(&good, false) != patience(&datedBack, false) ||
				a.isStale(then) != b.isStale(then) || a.hasEnded(then) != b.hasEnded(then) ||
				a.longestRetry(then) != b.longestRetry(then) || a.isOverlong() != b.isOverlong() ||
				!renewalTime(c, seed, &datedBack).After(now) {
				return false
			}
		}
		return true
	}
	if err := quick.Check(property, nil); err != nil {
		t.Error(err)
	}
}

// AWS Private CA dates certificates back by an hour. None is due when it arrives, and they
// are renewed after the same time as others.
func TestRenewalsOfAnIssuerThatDatesBack(t *testing.T) {
	t.Parallel()
	const volumes = 2000
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct {
		duration, mean time.Duration
	}{
		{30 * time.Minute, 19 * time.Minute},
		{35 * time.Minute, 22 * time.Minute},
		{time.Hour, 38 * time.Minute},
		{24 * time.Hour, 917 * time.Minute},
	} {
		c := testConfig(t, "certificate: {duration: "+row.duration.String()+"}")
		var sum time.Duration
		for i := range volumes {
			live := &volume.Metadata{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(row.duration), Obtained: now, Duration: row.duration}
			due := renewalTime(c, fmt.Sprint("csi-", i), live).Sub(now)
			if due < row.duration/2 {
				t.Errorf("%s: volume %d is due after %s", row.duration, i, due)
			}
			sum += due
		}
		if mean := sum / volumes; (mean - row.mean).Abs() > time.Minute {
			t.Errorf("%s: renewed after %s on average, want %s", row.duration, mean, row.mean)
		}
	}
}

// What is left of a volume's lifetime bounds the wait before the next attempt, but when
// there is nothing left to lose.
func TestLongestRetry(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct {
		name             string
		left, passed     time.Duration
		datedBack, wants time.Duration
	}{
		{"an hour", time.Hour, 0, 0, 6 * time.Minute},
		{"an hour, dated back by a day", time.Hour, 0, 24 * time.Hour, 6 * time.Minute},
		{"twenty seconds", 20 * time.Second, 0, 0, 2 * time.Second},
		{"two seconds", 2 * time.Second, 0, 0, time.Second},
		{"two seconds, dated back by a day", 2 * time.Second, 0, 24 * time.Hour, time.Second},
		{"two seconds, and they are over", 2 * time.Second, 3 * time.Second, 0, 6 * time.Minute},
		{"over when it came", -time.Second, 0, time.Hour, 6 * time.Minute},
	} {
		l := lifetime{notBefore: now.Add(-row.datedBack), notAfter: now.Add(row.left), obtained: now, requested: time.Hour}
		if got := l.longestRetry(now.Add(row.passed)); got != row.wants {
			t.Errorf("%s: %s, want %s", row.name, got, row.wants)
		}
	}
}

// The wall clock may be set, and the machine suspended. Renewals and what depends on
// lifetimes follow that, as certificates do.
func TestLifetimeIsByTheWallClock(t *testing.T) {
	t.Parallel()
	c, now := testConfig(t, "certificate: {duration: 1h}"), time.Now()
	live := &volume.Metadata{NotBefore: now.Add(-time.Minute).Round(0), NotAfter: now.Add(time.Hour).Round(0), Obtained: now, Duration: time.Hour}
	for name, got := range map[string]time.Time{
		"the beginning of a volume's lifetime": lifetimeOf(live).from(), "the beginning of a document's": lifetimeOfDocument(documentOf(-time.Minute, time.Hour)).from(),
		"when it was obtained": lifetimeOf(live).obtained, "the renewal": renewalTime(c, testVolume, live),
	} {
		if got != got.Round(0) {
			t.Errorf("%s, %s, has a reading of the monotonic clock", name, got)
		}
	}
}

// documentOf returns an SVID that was obtained now.
func documentOf(from, until time.Duration) *issuance.SVID {
	now := time.Now()
	leaf := &x509.Certificate{NotBefore: now.Add(from), NotAfter: now.Add(until)}
	return &issuance.SVID{
		X509: &x509svid.SVID{Certificates: []*x509.Certificate{leaf}}, Policy: policy.Policy{Duration: time.Hour},
		Request: types.NamespacedName{Namespace: "sandbox", Name: "web-0-x2b4"}, Obtained: now,
	}
}

// A valid SVID is not replaced by one that is not valid yet, and whoever wants to begin
// with such a one is told so.
func TestTakeOfAnSVIDThatIsNotValidYet(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name        string
		from        time.Duration // when the new one becomes valid
		live        bool
		lasts, late time.Duration // how long the one in the volume lasts; when the new one is asked for
		taken       bool
	}{
		{"valid, the first", -time.Minute, false, 0, 0, true},
		{"valid, a renewal", -time.Minute, true, time.Hour, 0, true},
		{"valid this moment", 0, true, time.Hour, 0, true},
		{"ahead, the first", 2 * time.Minute, false, 0, 0, false},
		{"ahead, the first, valid meanwhile", 2 * time.Minute, false, 0, 2 * time.Minute, true},
		{"ahead by a second, a renewal", time.Second, true, time.Hour, 0, false},
		{"ahead by a second, a renewal, a second later", time.Second, true, time.Hour, time.Second, true},
		{"ahead by an hour, a renewal", time.Hour, true, time.Minute, 0, false},
		{"ahead by an hour, a renewal, and the one before lasts still", time.Hour, true, time.Minute, time.Minute, false},
		{"ahead by an hour, a renewal, and the one before has expired", time.Hour, true, time.Minute, time.Minute + 1, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			now := time.Now()
			f := &flight{document: documentOf(row.from, row.from+time.Hour)}
			state := &volumeState{flight: f}
			if row.live {
				state.live = &volume.Metadata{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(row.lasts), Obtained: now.Add(-time.Hour)}
			}
			f.document.X509.Certificates[0].NotBefore = now.Add(row.from)
			err := state.take(f, now.Add(row.late))
			var early *notYetValidError
			if row.taken {
				if err != nil || state.flight != nil {
					t.Errorf("got %v, and it is still to be collected: %t", err, state.flight != nil)
				}
				return
			}
			if !errors.As(err, &early) || !early.from.Equal(now.Add(row.from)) || state.flight != f {
				t.Fatalf("got %v, and it is still to be collected: %t", err, state.flight != nil)
			}
			if want := "web-0-x2b4: verifying the certificate: the certificate is not valid yet: the issuer's clock is ahead by " + (row.from - row.late).String(); !strings.Contains(err.Error(), want) {
				t.Errorf("got %q, want it to contain %q", err, want)
			}
		})
	}
}

// A certificate that has expired is rejected, and one that is valid so late that the
// volume should rather get another when the issuer's clock has been set.
func TestErrUnusable(t *testing.T) {
	t.Parallel()
	const badCertificate = "issuer returned a certificate that is not the SVID that was asked for: "
	for _, row := range []struct {
		name        string
		from, until time.Duration
		requested   time.Duration
		want        string
	}{
		{"valid", -time.Minute, time.Hour, time.Hour, ""},
		{"expires now", -time.Hour, 0, time.Hour, ""},
		{"has expired", -time.Hour, -time.Minute, time.Hour, badCertificate + "it expired at 2026-01-02T03:03:05Z, 1m0s ago by this node's clock; set the clocks of the issuer and the node, by NTP"},
		{"ahead by seconds", 3 * time.Second, time.Hour, time.Hour, ""},
		{"ahead by as long as requested", time.Hour, 2 * time.Hour, time.Hour, ""},
		{"ahead by longer than requested", time.Hour + time.Second, 2 * time.Hour, time.Hour, badCertificate +
			"the certificate is not valid yet: the issuer's clock is ahead by 1h0m1s, which is longer than certificate.duration, or this node's clock is behind; set the clocks of the issuer and the node, by NTP"},
		{"ends before it begins", 50 * time.Second, 30 * time.Second, time.Hour, badCertificate + "it is valid at no time: from 2026-01-02T03:04:55Z until 2026-01-02T03:04:35Z; mend the issuer"},
		{"valid this moment alone", 0, 0, time.Hour, ""},
		{"ahead, and nobody knows how long it was to last", 365 * 24 * time.Hour, 366 * 24 * time.Hour, 0, ""},
	} {
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		l := lifetime{notBefore: now.Add(row.from), notAfter: now.Add(row.until), obtained: now, requested: row.requested}
		switch err := l.errUnusable(now); {
		case row.want == "" && err != nil:
			t.Errorf("%s: %v", row.name, err)
		case row.want != "" && (!errors.Is(err, issuance.ErrBadCertificate) || err.Error() != row.want):
			t.Errorf("%s:\n%v, want\n%s", row.name, err, row.want)
		}
	}
}

// A pod waits for its first SVID to become valid if that takes at most a minute.
func TestFirstSVIDThatIsNotValidYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name      string
		operation observe.Operation
		ahead     time.Duration
		cancel    time.Duration
		waits     time.Duration
		want      error
	}{
		{"valid", observe.Publishing, -time.Minute, 0, 0, nil},
		{"a second", observe.Publishing, time.Second, 0, time.Second, nil},
		{"a minute", observe.Publishing, time.Minute, 0, time.Minute, nil},
		{"more than a minute", observe.Publishing, time.Minute + 1, 0, 0, nil}, // who collects it is told
		{"a renewal", observe.Renewing, time.Second, 0, 0, nil},
		{"unpublished meanwhile", observe.Publishing, time.Minute, 10500 * time.Millisecond, 10500 * time.Millisecond, errUnpublished},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if row.cancel > 0 {
					time.AfterFunc(row.cancel, func() { cancel(errUnpublished) })
				}
				began, f := time.Now(), &flight{attempt: observe.NewIssuances().Begin(row.operation, time.Now())}
				err := f.waitUntilValid(ctx, documentOf(row.ahead, time.Hour))
				if waited := time.Since(began); !errors.Is(err, row.want) || waited != row.waits {
					t.Errorf("%v after %s, want %v after %s", err, waited, row.want, row.waits)
				}
				if row.want != nil && !strings.Contains(err.Error(), "the issuer's clock is ahead by") {
					t.Errorf("%q does not say what was waited for", err)
				}
			})
		})
	}
}

// A renewed SVID that is not valid yet is delivered when it is, or when the one in the
// volume has expired. That is no failure.
func TestRenewedSVIDIsDeliveredLater(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name        string
		ahead, left time.Duration
		at          time.Duration
		told        bool
	}{
		{"seconds", 2 * time.Second, 20 * time.Minute, 2 * time.Second, false},
		{"minutes", 5 * time.Minute, 20 * time.Minute, 5 * time.Minute, true},
		{"longer than there is time", time.Hour, 20 * time.Minute, 20*time.Minute + time.Second, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d := newTestDriver(t, nil)
			state, now := d.volumes.acquire(testVolume), time.Now()
			state.live = &volume.Metadata{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(row.left), Obtained: now.Add(-time.Hour)}
			early := &notYetValidError{now.Add(row.ahead), row.ahead}
			d.deliverLater(state, early, early)
			if due, planned := d.schedule.Due(testVolume); !planned || !due.Equal(now.Add(row.at).Round(0)) {
				t.Errorf("it is due at %s, want %s", due, now.Add(row.at))
			}
			if told := state.lastErr != nil; told != row.told || state.hasFailed() {
				t.Errorf("the list of volumes tells of it: %t, as of a failure: %t", told, state.hasFailed())
			}
		})
	}
}
