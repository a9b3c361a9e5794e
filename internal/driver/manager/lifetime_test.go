// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
)

// A pod waits for its first SVID to become valid if that takes at most a minute. Else it is
// told, and has the same SVID when it is valid.
func TestFirstSVIDIsNotValidYet(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name         string
		ahead, waits time.Duration
		told         bool
	}{
		{"valid", -time.Minute, 0, false},
		{"a second", time.Second, time.Second, false},
		{"a minute", time.Minute, time.Minute, false},
		{"more than a minute", 2 * time.Minute, 0, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t, "driver: {publishTimeout: 90s}")
				w.api.now(behaviour{sign: func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(row.ahead) }})
				began := time.Now()
				err := w.publish(web())
				if waited := time.Since(began); waited != row.waits {
					t.Errorf("it took %s, want %s", waited, row.waits)
				}
				var early *lifecycle.NotYetValidError
				if errors.As(err, &early) != row.told || !row.told && err != nil {
					t.Errorf("got %v", err)
				}
				if row.told {
					mustContain(t, err.Error(), ": verifying the certificate: the certificate is not valid yet: the issuer's clock is ahead by 2m0s")
				}
				pass(row.ahead)
				w.mustPublish(web())
				w.api.mustHaveAsked(t, 1)
			})
		})
	}
}

// Whoever gives up meanwhile is told what was waited for, once.
func TestPublishEndsBeforeItsSVIDIsValid(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t, "driver: {publishTimeout: 10s}")
		w.api.now(behaviour{sign: func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(30 * time.Second) }})
		err := w.publish(web())
		if !errors.Is(err, context.DeadlineExceeded) || strings.Count(err.Error(), "CertificateRequest sandbox/web-0-") != 1 {
			t.Errorf("got %v", err)
		}
		mustContain(t, err.Error(), "the issuer's clock is ahead by 2")
	})
}

// An SVID that waited until it is nearly over is not what a pod should start with.
func TestSVIDThatNobodyHasCollectedInTime(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		later time.Duration
		asked int
	}{
		{"half of it is left", 4 * time.Minute, 1},
		{"less than half of it is left", 6 * time.Minute, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t, "certificate: {duration: 10m}", "driver: {publishTimeout: 5s}")
				w.api.now(behaviour{undecided: everybody})
				if err := w.publish(web()); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				w.api.decide(nil)
				w.api.now(behaviour{})
				pass(row.later)
				w.mustPublish(web())
				w.api.mustHaveAsked(t, row.asked)
			})
		})
	}
}

// A renewed SVID that is not valid yet is delivered when it is, or when the one in the
// volume has expired. That is no failure.
func TestRenewedSVIDIsNotValidYet(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name       string
		ahead      time.Duration
		afterItEnd bool
		told       bool
	}{
		{"seconds", 2 * time.Second, false, false},
		{"minutes", 5 * time.Minute, false, true},
		{"longer than there is time", time.Hour, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				before := w.mustPublish(web())
				w.api.now(behaviour{sign: func(c *x509.Certificate) {
					c.NotBefore, c.NotAfter = c.NotBefore.Add(row.ahead), c.NotAfter.Add(row.ahead)
				}})
				w.untilDue(web())
				delivered := time.Now().Add(row.ahead)
				if row.afterItEnd {
					delivered = before.Certificates[0].NotAfter.Add(time.Second)
				}
				s := w.of(web())
				if off := s.RenewalDue.Sub(delivered); off.Abs() > time.Second || s.Failures != 0 || (s.LastError != nil) != row.told {
					t.Errorf("it is told of as %+v, want that it is due at %s", s, delivered)
				}
				if !samePublicKey(before, w.mustHaveSVID(web())) {
					t.Error("it was delivered at once")
				}
				pass(time.Until(delivered) + time.Second)
				if samePublicKey(before, w.mustHaveSVID(web())) {
					t.Error("it was not delivered")
				}
				w.api.mustHaveAsked(t, 2)
			})
		})
	}
}

// An issuer that signs for another time than was asked is told of.
func TestIssuerThatSignsForAnotherTime(t *testing.T) {
	t.Parallel()
	const short, overlong = "the issuer has signed for less than certificate.duration", "the issuer has signed for more than certificate.duration"
	for _, row := range []struct {
		name            string
		lasts           time.Duration
		short, overlong int
	}{
		{"as asked", time.Hour, 0, 0},
		{"for less", 30 * time.Minute, 1, 0},
		{"for more", 24 * time.Hour, 0, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.api.now(behaviour{sign: func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(row.lasts) }})
				w.mustPublish(web())
				w.log.mustSay(t, row.short, short, "level=WARN")
				w.log.mustSay(t, row.overlong, overlong, "level=WARN")
				if s := w.of(web()); s.Lifetime.IsOverlong() != (row.overlong > 0) || s.RenewalDue.After(time.Now().Add(time.Hour)) {
					t.Errorf("it is told of as %+v", s)
				}
			})
		})
	}
}
