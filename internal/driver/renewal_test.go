// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// A certificate that is due for renewal when it arrives, because clocks differ,
// must not be renewed at once, again and again.
func TestDocumentThatIsDueOnArrivalIsPutOff(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	state := d.volumes.acquire(testVolume)
	past := &volume.Metadata{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	for i := range 3 {
		d.setLive(testConfig(t), state, past)
		if state.failures != i+1 {
			t.Errorf("%d failures in a row after %d such documents", state.failures, i+1)
		}
	}
	d.setLive(testConfig(t), state, &volume.Metadata{NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)})
	if state.failures != 0 {
		t.Errorf("%d failures after a good document", state.failures)
	}
}

// What nobody has collected for long is not what the next one should get.
func TestFlightBecomesStale(t *testing.T) {
	t.Parallel()
	now := time.Now()
	document := func(left time.Duration) *issuance.Document {
		leaf := &x509.Certificate{NotBefore: now.Add(left - time.Hour), NotAfter: now.Add(left)}
		return &issuance.Document{SVID: &x509svid.SVID{Certificates: []*x509.Certificate{leaf}}, Policy: policy.Policy{Duration: time.Hour}}
	}
	datedBack, short := document(59*time.Minute), document(29*time.Minute)
	datedBack.SVID.Certificates[0].NotBefore = now.Add(-2 * time.Hour)
	short.SVID.Certificates[0].NotBefore = now.Add(-time.Minute)
	landed := make(chan struct{})
	close(landed)
	failed := errors.New("denied")
	for name, test := range map[string]struct {
		flight *flight
		want   bool
	}{
		"under way":           {&flight{landed: make(chan struct{})}, false},
		"new document":        {&flight{landed: landed, document: document(59 * time.Minute)}, false},
		"dated back":          {&flight{landed: landed, document: datedBack}, false},
		"shorter than asked":  {&flight{landed: landed, document: short}, false},
		"half-spent document": {&flight{landed: landed, document: document(29 * time.Minute)}, true},
		"clocks differ":       {&flight{landed: landed, began: now.Add(-time.Minute), document: document(-time.Hour)}, false},
		"fresh error":         {&flight{landed: landed, landedAt: now.Add(-time.Second), err: failed}, false},
		"old error":           {&flight{landed: landed, landedAt: now.Add(-time.Hour), err: failed}, true},
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
	request, err := parsePublish(goodRequest(), testConfig(t))
	check(t, err)
	state := d.volumes.acquire(request.volumeID)
	state.setMetadata(&volume.Metadata{PodUID: "another", TargetPath: request.targetPath})
	if err := d.publish(t.Context(), testConfig(t), request); !errors.Is(err, errWrongPod) {
		t.Errorf("got %v, want %v", err, errWrongPod)
	}
	if !state.token.secret.IsZero() {
		t.Error("the token of another pod was kept")
	}
}

// A document that is due on arrival, again and again, is asked for the more seldom,
// and never so that a short one has ended long before.
func TestDueOnArrivalIsTriedAgainInTime(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	state := d.volumes.acquire("csi-1")
	state.failures = 20
	now := time.Now()
	d.setLive(d.config.Current(), state, &volume.Metadata{NotBefore: now.Add(-50 * time.Second), NotAfter: now.Add(10 * time.Second)})
	due, planned := d.schedule.Due(state.id)
	if wait := due.Sub(now); !planned || wait < 2*time.Second || wait > 7*time.Second {
		t.Errorf("it is tried again in %s (planned: %t), want 3 to 6 s, a tenth of its minute at most", wait, planned)
	}
}
