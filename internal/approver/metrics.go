// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// The values of the label outcome.
const (
	outcomeApproved      = "approved"
	outcomeDenied        = "denied"
	outcomeApprovedOther = "approved_other"
	outcomeDeferred      = "deferred"
	outcomeLeftAlone     = "left_alone"
)

// metrics has no label that a requester could put something into.
type metrics struct {
	undecided *undecidedRequests
	sources   *sources
	// eventsDropped counts denials without an Event.
	eventsDropped prometheus.Counter
	// foreignApprovals counts requests for SVIDs that others have approved.
	foreignApprovals prometheus.Counter
	decisions        *prometheus.CounterVec
	denials          *prometheus.CounterVec
	failures         *prometheus.CounterVec
	duration         prometheus.Histogram
	age              prometheus.Histogram
	leader           prometheus.Gauge
}

func newMetrics(box *undecidedRequests, watches *sources) *metrics {
	const prefix = "csi_driver_spiffe_approver_"
	counter := func(name, help, label string, values ...string) *prometheus.CounterVec {
		vector := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, []string{label})
		for _, value := range values { // so that what has not happened yet is 0, and not absent
			vector.WithLabelValues(value)
		}
		return vector
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets})
	}
	return &metrics{
		undecided: box, sources: watches,
		eventsDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: prefix + "events_dropped_total", Help: "Denials that got no Event because there were too many at a time.",
		}),
		foreignApprovals: prometheus.NewCounter(prometheus.CounterOpts{
			Name: prefix + "foreign_approvals_total",
			Help: "Requests for SVIDs that waited here and that another approver has approved, most likely without looking at them.",
		}),
		decisions: counter("decisions_total", "Decisions by outcome. What was deferred is decided again; what was left alone is not decided here.",
			"outcome", outcomeApproved, outcomeDenied, outcomeApprovedOther, outcomeDeferred, outcomeLeftAlone),
		denials: counter("denial_reasons_total", "Reasons of denials. A denial may have several.", "reason", reasonNames()...),
		failures: counter("decision_failures_total", "Decisions that could not be written, and are tried again, by cause.",
			"cause", "missing_right", "no_signer", "webhook", "conflict", "throttled", "other"),
		duration: histogram("decision_duration_seconds", "Time from when the watch showed a request to when its decision was written.",
			[]float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300}),
		age: histogram("decision_age_seconds", "Age of a request when its decision was written. Kubernetes notes the time of creation in whole seconds.",
			[]float64{1, 2, 5, 10, 30, 60, 300, 3600}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "leader", Help: "Whether this replica decides (1) or stands by (0).",
		}),
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "csi_driver_spiffe_approver_" + name, Help: help},
			func() float64 { return float64(value()) })
	}
	return []prometheus.Collector{
		m.decisions, m.denials, m.failures, m.duration, m.age, m.leader, m.eventsDropped, m.foreignApprovals,
		gauge("watching", "Whether CertificateRequests are watched (1), or the API server does not let it (0).", func() int {
			if m.sources.ready() != nil {
				return 0
			}
			return 1
		}),
		gauge("undecided_requests", "Requests that are to be decided here and are not yet, whatever they wait for.",
			func() int { undecided, _ := m.undecided.counts(); return undecided }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "csi_driver_spiffe_approver_oldest_undecided_seconds",
			Help: "Age of the oldest request for an SVID that is not decided, or 0 if there is none. One that is deferred does not count until then.",
		}, m.oldestAge),
		gauge("queue_depth", "Requests that wait for a worker. It is 0 for a replica that stands by.",
			func() int { _, queued := m.undecided.counts(); return queued }),
	}
}

// oldestAge is in seconds. Requests for other issuers do not count: whoever may
// create requests could make them wait for an issuer that does not exist.
func (m *metrics) oldestAge() float64 {
	created := m.undecided.oldestCreation(time.Now())
	if created.IsZero() {
		return 0
	}
	return max(time.Since(created).Seconds(), 0)
}

// observe counts a decision that has been written.
func (m *metrics) observe(e waitingRequest, decision policy.Decision) {
	outcome := outcomeDenied
	switch {
	case decision.Verdict == policy.Approve && decision.ID.IsZero():
		outcome = outcomeApprovedOther
	case decision.Verdict == policy.Approve:
		outcome = outcomeApproved
	}
	m.decisions.WithLabelValues(outcome).Inc()
	for _, class := range reasonClasses(decision) {
		m.denials.WithLabelValues(class).Inc()
	}
	m.duration.Observe(time.Since(e.seen).Seconds())
	m.age.Observe(max(time.Since(e.request.CreationTimestamp.Time), 0).Seconds())
}

// classes are the reasons of denials as the metrics name them.
func classes() []struct {
	name   string
	reason error
} {
	return []struct {
		name   string
		reason error
	}{
		{"username", policy.ErrUsername},
		{"namespace", policy.ErrNamespace},
		{"groups", policy.ErrGroups},
		{"extra", policy.ErrExtra},
		{"owner", policy.ErrOwner},
		{"truncated", policy.ErrTruncated},
		{"annotations", policy.ErrAnnotations},
		{"labels", policy.ErrLabels},
		{"is_ca", policy.ErrIsCA},
		{"duration", policy.ErrDuration},
		{"usages", policy.ErrUsages},
		{"request", policy.ErrRequest},
		{"key", policy.ErrKey},
		{"trust_domain", policy.ErrTrustDomain},
		{"identity", policy.ErrIdentity},
		{"policy", policy.ErrPolicy},
	}
}

func reasonNames() []string {
	names := []string{"other"}
	for _, class := range classes() {
		names = append(names, class.name)
	}
	return names
}

// reasonClasses names the reasons of a decision, each once.
func reasonClasses(decision policy.Decision) []string {
	var found []string
	for _, class := range classes() {
		if errors.Is(errors.Join(decision.Reasons...), class.reason) {
			found = append(found, class.name)
		}
	}
	if len(found) == 0 && len(decision.Reasons) > 0 {
		found = append(found, "other")
	}
	return found
}
