// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// volumeMetrics tells of all volumes, none of it by pod, by one look at each.
type volumeMetrics struct {
	snapshots func() iter.Seq[Snapshot]
	config    func() *config.Config
	now       func() time.Time
}

// NewVolumeMetrics returns the metrics about the volumes of a node. At each scrape they
// are computed from a snapshot of each volume, the configuration and the time.
func NewVolumeMetrics(snapshots func() iter.Seq[Snapshot], config func() *config.Config, now func() time.Time) prometheus.Collector {
	return &volumeMetrics{snapshots, config, now}
}

// Describe implements prometheus.Collector.
func (m *volumeMetrics) Describe(descs chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(m, descs)
}

// Collect implements prometheus.Collector.
func (m *volumeMetrics) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(name, help string, value float64) {
		desc := prometheus.NewDesc(prefix+name, help, nil, nil)
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	c, now := m.config(), m.now()
	t := tally{inProgress: map[Operation]map[issuance.Stage]int{Publishing: {}, Renewing: {}}, longestInProgress: map[Operation]time.Duration{}}
	for snapshot := range m.snapshots() {
		t.add(c, snapshot, now)
	}
	gauge("volumes", "Live volumes of this node.", float64(t.live))
	gauge("volumes_damaged", "Volumes in pods that could not be given an SVID, so that nobody renews what the pods have.", float64(t.damaged))
	gauge("volumes_hidden", "Live volumes mounted over something else, which containers see that were started before.", float64(t.shadowed))
	gauge("volumes_overlong", "Live volumes whose SVID is valid for longer than was requested.", float64(t.overlong))
	gauge("volumes_unverified", "Live volumes whose certificate chain the trust bundle in force does not verify.", float64(t.unverified))
	gauge("volumes_overdue", "Live volumes whose SVID should have been renewed by now.", float64(t.overdue))
	gauge("volumes_expired", "Live volumes whose SVID has expired, or is not valid yet.", float64(t.expired))
	gauge("volumes_backing_off", "Volumes whose last attempt failed, and which wait for the next.", float64(t.backingOff))
	gauge("volumes_to_reissue", "Live volumes whose SVID is not what the configuration asks for now.", float64(t.toReissue))
	gauge("volumes_behind", "Live volumes that do not have the trust bundle in force, or not the files that the configuration asks for.", float64(t.outdated))
	gauge("renewals_due_within_hour", "Live volumes that are due for renewal within the next hour, or already.", float64(t.dueSoon))
	gauge("renewals_longest_overdue_seconds", "For how long the SVID of a live volume has been overdue for renewal, of all the longest; 0 if none is.", t.longestOverdue.Seconds())
	earliest := 0.0
	if t.live > 0 {
		earliest = float64(t.earliest.Unix())
	}
	gauge("earliest_expiry_timestamp_seconds", "When the first of the SVIDs of live volumes expires, in seconds since 1970; 0 if there is none.", earliest)
	t.collectInProgress(metrics)
}

// tally is how many volumes there are of each kind.
type tally struct {
	live, damaged, shadowed, overdue, expired, backingOff, dueSoon, overlong, unverified, toReissue, outdated int
	// earliest is when the first SVID expires, if there is one.
	earliest   time.Time
	inProgress map[Operation]map[issuance.Stage]int
	// longestInProgress and longestOverdue are of all volumes the longest.
	longestInProgress map[Operation]time.Duration
	longestOverdue    time.Duration
}

func (t *tally) collectInProgress(metrics chan<- prometheus.Metric) {
	under := prometheus.NewDesc(prefix+"issuances_in_progress",
		"Attempts to bring an SVID into a volume that are under way, by what they are for and the stage that they are in.", []string{"operation", "stage"}, nil)
	longest := prometheus.NewDesc(prefix+"issuances_longest_in_progress_seconds",
		"For how long an attempt to bring an SVID into a volume has been under way, of all the longest; 0 if there is none.", []string{"operation"}, nil)
	for _, op := range operations() {
		metrics <- prometheus.MustNewConstMetric(longest, prometheus.GaugeValue, t.longestInProgress[op].Seconds(), string(op))
		for _, stage := range op.stages() {
			metrics <- prometheus.MustNewConstMetric(under, prometheus.GaugeValue, float64(t.inProgress[op][stage]), string(op), stage.Word())
		}
	}
}

// add counts a volume.
func (t *tally) add(c *config.Config, s Snapshot, now time.Time) {
	waits := s.Live != nil && s.Failures > 0 && !s.Renewing
	if s.Issuance != nil && s.Issuance.Progress.UnderWay {
		p := s.Issuance.Progress
		t.inProgress[p.Operation][p.Stage]++
		t.longestInProgress[p.Operation] = max(t.longestInProgress[p.Operation], now.Sub(p.Began))
		waits = waits || p.BackingOff
	}
	count(&t.backingOff, waits)
	count(&t.damaged, s.Damage != nil)
	count(&t.shadowed, s.Shadowed != "")
	count(&t.unverified, s.Unverified)
	count(&t.toReissue, s.ToReissue)
	count(&t.outdated, s.Outdated)
	if s.Live != nil {
		t.addLive(c, s, now)
	}
}

// addLive counts the SVID of a live volume, and its renewal.
func (t *tally) addLive(c *config.Config, s Snapshot, now time.Time) {
	live := s.Live
	t.live++
	if t.earliest.IsZero() || live.NotAfter.Before(t.earliest) {
		t.earliest = live.NotAfter
	}
	count(&t.expired, !now.Before(live.NotAfter) || live.NotBefore.After(now))
	count(&t.overlong, s.Lifetime.IsOverlong())
	shouldRenew := TimingOf(c).RenewalTime(s.VolumeID, lifecycle.Volume{SVID: lifecycle.SVID{Lifetime: s.Lifetime}})
	if overdue := now.Sub(shouldRenew); overdue >= 0 {
		t.overdue++
		t.longestOverdue = max(t.longestOverdue, overdue)
	}
	due := s.RenewalDue
	if due.IsZero() { // it is being renewed, or waits for a token
		due = shouldRenew
	}
	count(&t.dueSoon, due.Before(now.Add(time.Hour)))
}

// TimingOf is when SVIDs are renewed under a configuration.
func TimingOf(c *config.Config) lifecycle.Timing {
	return lifecycle.Timing{RenewBefore: c.Certificate.RenewBefore, RenewBeforePercentage: c.Certificate.RenewBeforePercentage}
}

// count adds one to n if a volume is of its kind.
func count(n *int, is bool) {
	if is {
		*n++
	}
}
