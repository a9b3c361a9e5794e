// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/configtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe/observetest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// now is the moment of all snapshots.
var now = time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC)

// metricsOf are the metrics of volumes that are not 0.
func metricsOf(t *testing.T, snapshots ...observe.Snapshot) map[string]float64 {
	t.Helper()
	c := configtest.Parse(t)
	return observetest.Samples(t, observe.NewVolumeMetrics(
		func() iter.Seq[observe.Snapshot] { return slices.Values(snapshots) },
		func() *config.Config { return c },
		func() time.Time { return now },
	))
}

// live is of a volume whose SVID is valid for a period around now, and whose renewal is
// planned after that.
func live(from, until, renewal time.Duration, change func(*observe.Snapshot)) observe.Snapshot {
	s := observe.Snapshot{
		VolumeID:   "csi-1",
		Live:       &volume.Metadata{NotBefore: now.Add(from), NotAfter: now.Add(until)},
		Lifetime:   lifecycle.Lifetime{NotBefore: now.Add(from), NotAfter: now.Add(until)},
		RenewalDue: now.Add(renewal),
	}
	change(&s)
	return s
}

func unchanged(*observe.Snapshot) {}

// waiting is of a volume that is not published, for an hour.
func waiting(op observe.Operation, stage issuance.Stage, change func(*observe.Progress)) observe.Snapshot {
	p := observe.Progress{Operation: op, Began: now.Add(-time.Hour), Stage: stage, UnderWay: true}
	change(&p)
	return observe.Snapshot{VolumeID: "csi-2", Issuance: &observe.Issuance{Progress: p}}
}

// Volumes are counted by how they are, those without an SVID by what they wait for.
func TestVolumesAreCounted(t *testing.T) {
	t.Parallel()
	const longestOverdue = "renewals_longest_overdue_seconds{}"
	expiresAfter := func(d time.Duration) float64 { return float64(now.Add(d).Unix()) }
	for _, row := range []struct {
		name     string
		snapshot observe.Snapshot
		want     map[string]float64
		overdue  bool
	}{
		{"fresh", live(-time.Minute, 4*time.Hour, 2*time.Hour, unchanged), map[string]float64{
			"earliest_expiry_timestamp_seconds{}": expiresAfter(4 * time.Hour),
		}, false},
		{"due soon", live(-time.Minute, 4*time.Hour, 59*time.Minute, unchanged), map[string]float64{
			"earliest_expiry_timestamp_seconds{}": expiresAfter(4 * time.Hour), "renewals_due_within_hour{}": 1,
		}, false},
		{"overdue, and being renewed", live(-2*time.Hour, time.Minute, 0, func(s *observe.Snapshot) { s.RenewalDue = time.Time{} }), map[string]float64{
			"earliest_expiry_timestamp_seconds{}": expiresAfter(time.Minute), "renewals_due_within_hour{}": 1, "volumes_overdue{}": 1,
		}, true},
		{"no renewal is planned, nor due soon", live(-time.Minute, 100*time.Hour, 0, func(s *observe.Snapshot) { s.RenewalDue = time.Time{} }), map[string]float64{
			"earliest_expiry_timestamp_seconds{}": expiresAfter(100 * time.Hour),
		}, false},
		{"failing", live(-time.Minute, 4*time.Hour, 2*time.Hour, func(s *observe.Snapshot) { s.Failures = 3 }), map[string]float64{
			"earliest_expiry_timestamp_seconds{}": expiresAfter(4 * time.Hour), "volumes_backing_off{}": 1,
		}, false},
		{"failing, and tried again", live(-time.Minute, 4*time.Hour, 2*time.Hour, func(s *observe.Snapshot) { s.Failures, s.Renewing = 1, true }), map[string]float64{
			"earliest_expiry_timestamp_seconds{}": expiresAfter(4 * time.Hour),
		}, false},
		{"not valid yet", live(time.Minute, 4*time.Hour, 2*time.Hour, unchanged), map[string]float64{
			"earliest_expiry_timestamp_seconds{}": expiresAfter(4 * time.Hour), "volumes_expired{}": 1,
		}, false},
		{"expired", live(-2*time.Hour, 0, 2*time.Hour, unchanged), map[string]float64{
			"earliest_expiry_timestamp_seconds{}": expiresAfter(0), "volumes_expired{}": 1, "volumes_overdue{}": 1,
		}, true},
		{"overlong, shadowed, unverified, to be re-issued and outdated", live(-time.Minute, 4*time.Hour, 2*time.Hour, func(s *observe.Snapshot) {
			s.Lifetime.Requested = 3 * time.Hour
			s.Shadowed, s.Unverified, s.ToReissue, s.Outdated = "ext4", true, true, true
		}), map[string]float64{
			"earliest_expiry_timestamp_seconds{}": expiresAfter(4 * time.Hour), "volumes_overlong{}": 1, "volumes_hidden{}": 1,
			"volumes_unverified{}": 1, "volumes_to_reissue{}": 1, "volumes_behind{}": 1,
		}, false},
		{"live and damaged", live(-time.Minute, 4*time.Hour, 2*time.Hour, func(s *observe.Snapshot) { s.Damage = &observe.Damage{} }), map[string]float64{
			"earliest_expiry_timestamp_seconds{}": expiresAfter(4 * time.Hour), "volumes_damaged{}": 1,
		}, false},
		{"damaged", observe.Snapshot{Damage: &observe.Damage{}}, map[string]float64{"volumes_damaged{}": 1}, false},
		{"is signed", waiting(observe.Publishing, issuance.StageSign, func(*observe.Progress) {}), map[string]float64{
			"issuances_in_progress{operation=publish,stage=sign}": 1, "issuances_longest_in_progress_seconds{operation=publish}": 3600,
		}, false},
		{"asks again later", waiting(observe.Publishing, issuance.StageCreate, func(p *observe.Progress) { p.BackingOff = true }), map[string]float64{
			"issuances_in_progress{operation=publish,stage=create}": 1, "issuances_longest_in_progress_seconds{operation=publish}": 3600, "volumes_backing_off{}": 1,
		}, false},
		{"the renewal waits for an approver", waiting(observe.Renewing, issuance.StageApprove, func(*observe.Progress) {}), map[string]float64{
			"issuances_in_progress{operation=renewal,stage=approve}": 1, "issuances_longest_in_progress_seconds{operation=renewal}": 3600,
		}, false},
		{"has ended, and was not collected", waiting(observe.Publishing, issuance.StageApprove, func(p *observe.Progress) { p.UnderWay, p.BackingOff = false, true }), map[string]float64{}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := metricsOf(t, row.snapshot)
			if overdue := got[longestOverdue]; overdue > 0 != row.overdue {
				t.Errorf("it is overdue for %g s", overdue)
			}
			delete(got, longestOverdue) // it depends on the jitter
			if row.snapshot.Live != nil {
				row.want["volumes{}"] = 1
			}
			if !maps.Equal(got, row.want) {
				t.Errorf("got  %v\nwant %v", got, row.want)
			}
		})
	}
}

// Of several volumes the counts are sums, and the extremes those of one.
func TestVolumesAreCountedTogether(t *testing.T) {
	t.Parallel()
	older := waiting(observe.Publishing, issuance.StageSign, func(p *observe.Progress) { p.Began = now.Add(-2 * time.Hour) })
	got := metricsOf(
		t, live(-time.Minute, 3*time.Hour, 2*time.Hour, unchanged), live(-time.Minute, 2*time.Hour, 2*time.Hour, unchanged),
		waiting(observe.Publishing, issuance.StageSign, func(*observe.Progress) {}), older,
		live(-6*time.Hour, 4*time.Hour, 2*time.Hour, func(s *observe.Snapshot) { s.LastError = errors.New("told of in the list alone") }),
		observe.Snapshot{VolumeID: "nothing is known of it"},
	)
	want := map[string]float64{
		"volumes{}": 3, "earliest_expiry_timestamp_seconds{}": float64(now.Add(2 * time.Hour).Unix()),
		"issuances_in_progress{operation=publish,stage=sign}": 2, "issuances_longest_in_progress_seconds{operation=publish}": 7200,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	// The first was due after two hours, less a jitter; the second after 40 minutes.
	overdue := metricsOf(t, live(-3*time.Hour, 0, time.Hour, unchanged), live(-time.Hour, 0, time.Hour, unchanged))
	if longest := overdue["renewals_longest_overdue_seconds{}"]; longest < 3600 || longest > 3600+1800 || overdue["volumes_overdue{}"] != 2 {
		t.Errorf("got %v", overdue)
	}
}
