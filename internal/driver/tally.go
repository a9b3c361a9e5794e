// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// volumesCollector tells of all volumes, none of it by pod, by one look at each.
type volumesCollector struct{ driver *Driver }

// Describe implements prometheus.Collector.
func (c *volumesCollector) Describe(descs chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, descs)
}

// Collect implements prometheus.Collector.
func (c *volumesCollector) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(name, help string, value float64) {
		desc := prometheus.NewDesc("csi_driver_spiffe_"+name, help, nil, nil)
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	t := c.driver.tally(time.Now())
	gauge("volumes", "Live volumes of this node.", float64(t.live))
	gauge("volumes_damaged", "Volumes in pods that could not be given a document, so that nobody renews what the pods have.", float64(t.damaged))
	gauge("volumes_hidden", "Live volumes mounted over something else, which containers see that were started before.", float64(t.hidden))
	gauge("volumes_overlong", "Live volumes whose SVID is valid for longer than was requested.", float64(t.overlong))
	gauge("volumes_unverified", "Live volumes whose certificate chain the trust bundle in force does not verify.", float64(t.unverified))
	gauge("volumes_overdue", "Live volumes whose document should have been renewed by now.", float64(t.overdue))
	gauge("volumes_expired", "Live volumes whose document has expired, or is not valid yet.", float64(t.expired))
	gauge("volumes_backing_off", "Volumes whose last attempt failed, and which wait for the next.", float64(t.backingOff))
	gauge("renewals_due_within_hour", "Live volumes that are due for renewal within the next hour, or already.", float64(t.dueSoon))
	gauge("renewals_longest_overdue_seconds", "For how long the document of a live volume has been overdue for renewal, of all the longest; 0 if none is.", t.longestOverdue.Seconds())
	earliest := 0.0
	if t.live > 0 {
		earliest = float64(t.earliest.Unix())
	}
	gauge("earliest_expiry_timestamp_seconds", "When the first of the documents of live volumes expires, in seconds since 1970; 0 if there is none.", earliest)
	under := prometheus.NewDesc("csi_driver_spiffe_issuances_in_progress",
		"Attempts to bring a document into a volume that are under way, by what they are for and the stage that they are in.", []string{"operation", "stage"}, nil)
	longest := prometheus.NewDesc("csi_driver_spiffe_issuances_longest_in_progress_seconds",
		"For how long an attempt to bring a document into a volume has been under way, of all the longest; 0 if there is none.", []string{"operation"}, nil)
	for _, op := range []operation{publishing, renewing} {
		metrics <- prometheus.MustNewConstMetric(longest, prometheus.GaugeValue, t.longestInProgress[op].Seconds(), string(op))
		for _, stage := range stagesOf(op) {
			metrics <- prometheus.MustNewConstMetric(under, prometheus.GaugeValue, float64(t.inProgress[op][stage]), string(op), stage.Word())
		}
	}
}

// tally is how many volumes there are of each kind.
type tally struct {
	live, damaged, hidden, overdue, expired, backingOff, dueSoon, overlong, unverified int
	// earliest is when the first document expires, if there is one.
	earliest   time.Time
	inProgress map[operation]map[issuance.Stage]int
	// longestInProgress and longestOverdue are of all volumes the longest.
	longestInProgress map[operation]time.Duration
	longestOverdue    time.Duration
}

func (d *Driver) tally(now time.Time) *tally {
	t := &tally{inProgress: map[operation]map[issuance.Stage]int{publishing: {}, renewing: {}}, longestInProgress: map[operation]time.Duration{}}
	c := d.config.Current()
	d.volumes.each(func(state *volumeState) {
		live := state.countInto(t)
		if live == nil {
			return
		}
		t.countDocument(c, state.id, live, now)
		due, planned := d.schedule.Due(state.id)
		if !planned { // it is being renewed, or waits for a token
			l := lifetimeOf(live)
			due = c.RenewalTime(l.from(), l.until(), state.id)
		}
		if due.Before(now.Add(time.Hour)) {
			t.dueSoon++
		}
	})
	return t
}

// countDocument counts the document of a live volume.
func (t *tally) countDocument(c *config.Config, id string, live *volume.Metadata, now time.Time) {
	t.live++
	if t.earliest.IsZero() || live.NotAfter.Before(t.earliest) {
		t.earliest = live.NotAfter
	}
	l := lifetimeOf(live)
	if !now.Before(live.NotAfter) || l.ahead(now) > 0 {
		t.expired++
	}
	if l.isOverlong() {
		t.overlong++
	}
	if late := now.Sub(c.RenewalTime(l.from(), l.until(), id)); late >= 0 {
		t.overdue++
		t.longestOverdue = max(t.longestOverdue, late)
	}
}

// countInto counts what is going on with a volume, and returns what was
// published, or nil.
func (s *volumeState) countInto(t *tally) *volume.Metadata {
	s.mu.Lock()
	defer s.mu.Unlock()
	waits := s.live != nil && s.failures > 0 && !s.renewing.Load()
	if s.flight != nil {
		if stage, underWay := s.flight.attempt.now(); underWay {
			op := s.flight.attempt.operation
			t.inProgress[op][stage]++
			t.longestInProgress[op] = max(t.longestInProgress[op], s.flight.attempt.elapsed())
			waits = waits || s.flight.attempt.backingOff.Load()
		}
	}
	if waits {
		t.backingOff++
	}
	if s.damage != nil {
		t.damaged++
	}
	if s.hiddenBy != "" {
		t.hidden++
	}
	if s.unverified != "" {
		t.unverified++
	}
	return s.live
}
