// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// prefix begins the names of all metrics.
const prefix = "csi_driver_spiffe_"

// Operation is what an SVID is obtained for, as metrics name it.
type Operation string

// The operations.
const (
	Publishing Operation = "publish"
	Renewing   Operation = "renewal"
)

// operations are all of them.
func operations() []Operation { return []Operation{Publishing, Renewing} }

// stages are the stages of an operation: a renewal mounts nothing.
func (op Operation) stages() []issuance.Stage {
	stages := issuance.Stages()
	if op == Renewing {
		stages = stages[:len(stages)-1]
	}
	return stages
}

// Issuances are the metrics of attempts to bring an SVID into a volume. None of their
// labels can be chosen by anybody.
type Issuances struct {
	total           *prometheus.CounterVec
	renewalFailures prometheus.Counter
	retries         map[Operation]prometheus.Counter
	durations       map[Operation]prometheus.Observer
	stages          map[Operation]map[issuance.Stage]prometheus.Observer

	all []prometheus.Collector
}

// stageBuckets are from what a write into memory takes to what an issuer may.
var stageBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 30, 60, 300}

// NewIssuances returns metrics in which all that has not happened yet is 0: it is not
// absent, and nobody has to look for it when it happens.
func NewIssuances() *Issuances {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "issuances_total",
		Help: "Attempts to bring an SVID into a volume that have ended, by what they were for, what became of them and the stage in which that was.",
	}, []string{"operation", "outcome", "stage"})
	renewalFailures := prometheus.NewCounter(prometheus.CounterOpts{
		Name: prefix + "renewal_failures_total",
		Help: "Renewals that failed and are tried again.",
	})
	retries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "retries_total",
		Help: "Attempts that the driver made because the one before had failed. A kubelet that publishes again is not counted.",
	}, []string{"operation"})
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    prefix + "issuance_duration_seconds",
		Help:    "How long it took to bring an SVID into a volume, from the kubelet's call, or from when the volume was due for renewal.",
		Buckets: stageBuckets[4:],
	}, []string{"operation"})
	stages := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    prefix + "issuance_stage_duration_seconds",
		Help:    "How long SVIDs that came into a volume were in each stage on the way. All stages together are issuance_duration_seconds.",
		Buckets: stageBuckets,
	}, []string{"operation", "stage"})
	m := &Issuances{
		total: total, renewalFailures: renewalFailures, retries: map[Operation]prometheus.Counter{}, durations: map[Operation]prometheus.Observer{},
		stages: map[Operation]map[issuance.Stage]prometheus.Observer{},
		all:    []prometheus.Collector{total, renewalFailures, retries, durations, stages},
	}
	for _, op := range operations() {
		m.retries[op], m.durations[op] = retries.WithLabelValues(string(op)), durations.WithLabelValues(string(op))
		m.stages[op] = map[issuance.Stage]prometheus.Observer{}
		for _, stage := range op.stages() {
			m.stages[op][stage] = stages.WithLabelValues(string(op), stage.Word())
		}
		for as, in := range usualOutcomes(op) {
			for _, stage := range in {
				total.WithLabelValues(string(op), string(as), stage.Word())
			}
		}
	}
	return m
}

// Collectors returns the metrics.
func (m *Issuances) Collectors() []prometheus.Collector { return m.all }

// Retried counts an attempt that the driver makes because the one before has failed.
func (m *Issuances) Retried(op Operation) { m.retries[op].Inc() }

// RenewalFailed counts a renewal that failed and is tried again.
func (m *Issuances) RenewalFailed() { m.renewalFailures.Inc() }
