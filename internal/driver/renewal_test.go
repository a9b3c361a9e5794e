// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// An issuer that signs for less and less, because its own certificate is about to expire,
// is asked a few times by each volume, and not ever faster.
func TestRenewalsAreNotEverFaster(t *testing.T) {
	t.Parallel()
	c := testConfig(t, "certificate: {duration: 1h}")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	expires := now.Add(time.Hour)
	for n := 1; now.Before(expires); n++ {
		live := &volume.Metadata{NotBefore: now.Add(-time.Hour), NotAfter: expires, Obtained: now, Duration: time.Hour, EarlyRenewals: max(0, earlyRenewals-n)}
		due := renewalTime(c, testVolume, live)
		interval := due.Sub(now)
		now = due
		if interval < 10*time.Second || n > 8 {
			t.Fatalf("renewal %d comes %s after the one before, %s before the end", n, interval, expires.Sub(now))
		}
	}
}

// What nobody has collected for long is not what the next one should get.
func TestFlightBecomesStale(t *testing.T) {
	t.Parallel()
	now := time.Now()
	// What an issuer has signed for an hour, of which so much is left.
	document := func(left time.Duration) *issuance.SVID {
		leaf := &x509.Certificate{NotBefore: now.Add(left - time.Hour), NotAfter: now.Add(left)}
		return &issuance.SVID{
			X509: &x509svid.SVID{Certificates: []*x509.Certificate{leaf}}, Policy: policy.Policy{Duration: time.Hour}, Obtained: leaf.NotBefore,
		}
	}
	datedBack, short, ahead, ended := document(59*time.Minute), document(29*time.Minute), document(2*time.Hour), document(-time.Minute)
	datedBack.X509.Certificates[0].NotBefore = now.Add(-2 * time.Hour)
	short.X509.Certificates[0].NotBefore, short.Obtained = now.Add(-2*time.Hour), now.Add(-time.Minute)
	ahead.Obtained = now.Add(-time.Minute)
	landed := make(chan struct{})
	close(landed)
	failed := errors.New("denied")
	for name, test := range map[string]struct {
		flight *flight
		want   bool
	}{
		"under way":          {&flight{landed: make(chan struct{})}, false},
		"given up":           {&flight{landed: landed, document: document(59 * time.Minute), abandoned: true}, true},
		"new document":       {&flight{landed: landed, document: document(59 * time.Minute)}, false},
		"dated back":         {&flight{landed: landed, document: datedBack}, false},
		"shorter than asked": {&flight{landed: landed, document: short}, false},
		"half of it is over": {&flight{landed: landed, document: document(29 * time.Minute)}, true},
		"not valid yet":      {&flight{landed: landed, document: ahead}, false},
		"expired":            {&flight{landed: landed, document: ended}, true},
		"fresh error":        {&flight{landed: landed, landedAt: now.Add(-time.Second), err: failed}, false},
		"old error":          {&flight{landed: landed, landedAt: now.Add(-time.Hour), err: failed}, true},
	} {
		if got := test.flight.isStale(now); got != test.want {
			t.Errorf("%s: stale %t, want %t", name, got, test.want)
		}
	}
}

// The volume ID is made from the pod's UID: another pod with it is an error
// somewhere, and must not leave its token behind.
func TestPublishRefusesAnotherPod(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	request := goodPublish(t)
	state := d.volumes.acquire(request.VolumeID)
	state.setMetadata(&volume.Metadata{PodUID: "another", TargetPath: request.TargetPath})
	if err := d.publish(t.Context(), testConfig(t), request); !errors.Is(err, manager.ErrWrongPod) {
		t.Errorf("got %v, want %v", err, manager.ErrWrongPod)
	}
	if !state.token.Secret.IsZero() {
		t.Error("the token of another pod was kept")
	}
}
