// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe/observetest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// Volumes are told of by how they are, those without a document by what they
// wait for.
func TestVolumesAreCounted(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	now := time.Now()
	lasting := func(from, to time.Duration) *volume.Metadata {
		return &volume.Metadata{NotBefore: now.Add(from), NotAfter: now.Add(to)}
	}
	add := func(id string, live *volume.Metadata) *volumeState {
		state := d.volumes.acquire(id)
		if live != nil {
			state.setMetadata(live)
			d.schedule.Schedule(id, now.Add(30*time.Minute))
		}
		return state
	}
	add("fresh", lasting(-time.Minute, time.Hour))
	d.schedule.Schedule("fresh", now.Add(2*time.Hour))
	add("due soon", lasting(-time.Minute, time.Hour))
	add("due now, and being renewed", lasting(-2*time.Hour, time.Hour)) // was due after two of three hours
	d.schedule.Cancel("due now, and being renewed")
	add("failing", lasting(-time.Hour, 10*time.Minute)).failures = 3
	beingTried := add("failing, and tried again", lasting(-time.Hour, 10*time.Minute))
	beingTried.failures = 1
	beingTried.renewing.Store(true)
	add("not valid yet", lasting(time.Minute, time.Hour))
	d.schedule.Schedule("not valid yet", now.Add(2*time.Hour))
	expired := add("expired", lasting(-2*time.Hour, -time.Minute))
	expired.hiddenBy = "ext4"

	add("damaged", nil).damage = &observe.Damage{}
	add("live and damaged", lasting(-time.Minute, time.Hour)).damage = &observe.Damage{}
	d.schedule.Schedule("live and damaged", now.Add(2*time.Hour))

	waiting := func(id string, op observe.Operation, stage issuance.Stage) *observe.Attempt {
		state := add(id, nil)
		state.flight = &flight{attempt: d.issuances.Begin(op, now.Add(-time.Hour))}
		state.flight.attempt.Enter(stage)
		return state.flight.attempt
	}
	waiting("is signed", observe.Publishing, issuance.StageSign)
	waiting("is signed, too", observe.Publishing, issuance.StageSign)
	waiting("asks again later", observe.Publishing, issuance.StageCreate).SetBackingOff(true)
	ended := waiting("waits for nobody", observe.Publishing, issuance.StageApprove)
	ended.SetBackingOff(true)
	ended.RequestEnded(errors.New("denied"))
	waiting("due now, and being renewed", observe.Renewing, issuance.StageApprove)

	got := observetest.Samples(t, observe.NewVolumeMetrics(d.snapshots, d.config.Current, func() time.Time { return now }))
	// The document of "expired" was due after two thirds of its two hours, less a jitter.
	for name, want := range map[string]struct{ least, most time.Duration }{
		"renewals_longest_overdue_seconds{}":                       {40 * time.Minute, 50 * time.Minute},
		"issuances_longest_in_progress_seconds{operation=publish}": {time.Hour, 61 * time.Minute},
		"issuances_longest_in_progress_seconds{operation=renewal}": {time.Hour, 61 * time.Minute},
	} {
		if got[name] < want.least.Seconds() || got[name] > want.most.Seconds() {
			t.Errorf("%s is %g, want %s to %s", name, got[name], want.least, want.most)
		}
		delete(got, name)
	}
	want := map[string]float64{
		"volumes{}": 8, "volumes_damaged{}": 2, "volumes_overdue{}": 4, "volumes_expired{}": 2, "volumes_hidden{}": 1, "volumes_backing_off{}": 2,
		"renewals_due_within_hour{}": 5, "earliest_expiry_timestamp_seconds{}": float64(now.Add(-time.Minute).Unix()),
		"issuances_in_progress{operation=publish,stage=sign}":    2,
		"issuances_in_progress{operation=publish,stage=create}":  1,
		"issuances_in_progress{operation=renewal,stage=approve}": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
