// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// operation is what a document is obtained for, as metrics name it.
type operation string

const (
	publishing operation = "publish"
	renewing   operation = "renewal"
)

// issuances are the metrics of attempts. None of their labels can be chosen by
// anybody.
type issuances struct {
	total     *prometheus.CounterVec
	retries   map[operation]prometheus.Counter
	durations map[operation]prometheus.Observer
	stages    map[operation]map[issuance.Stage]prometheus.Observer

	all []prometheus.Collector
}

// stageBuckets are from what a write into memory takes to what an issuer may.
var stageBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 30, 60, 300}

func newIssuances() *issuances {
	const prefix = "csi_driver_spiffe_"
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "issuances_total",
		Help: "Attempts to bring a document into a volume that have ended, by what they were for, what became of them and the stage in which that was.",
	}, []string{"operation", "outcome", "stage"})
	retries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "retries_total",
		Help: "Attempts that the driver made because the one before had failed. A kubelet that publishes again is not counted.",
	}, []string{"operation"})
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    prefix + "issuance_duration_seconds",
		Help:    "How long it took to bring a document into a volume, from the kubelet's call, or from when the volume was due for renewal.",
		Buckets: stageBuckets[4:],
	}, []string{"operation"})
	stages := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    prefix + "issuance_stage_duration_seconds",
		Help:    "How long documents that came into a volume were in each stage on the way. All stages together are issuance_duration_seconds.",
		Buckets: stageBuckets,
	}, []string{"operation", "stage"})
	m := &issuances{
		total: total, retries: map[operation]prometheus.Counter{}, durations: map[operation]prometheus.Observer{},
		stages: map[operation]map[issuance.Stage]prometheus.Observer{},
		all:    []prometheus.Collector{total, retries, durations, stages},
	}
	// What has not happened yet is 0, and not absent; and nobody has to look for it
	// when it happens.
	for _, op := range []operation{publishing, renewing} {
		m.retries[op], m.durations[op] = retries.WithLabelValues(string(op)), durations.WithLabelValues(string(op))
		m.stages[op] = map[issuance.Stage]prometheus.Observer{}
		for _, stage := range stagesOf(op) {
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

// stagesOf are the stages of an operation: a renewal mounts nothing.
func stagesOf(op operation) []issuance.Stage {
	stages := issuance.Stages()
	if op == renewing {
		stages = stages[:len(stages)-1]
	}
	return stages
}

// usualOutcomes are those that somebody may wait for in vain, with their stages.
func usualOutcomes(op operation) map[outcome][]issuance.Stage {
	stages := stagesOf(op)
	return map[outcome][]issuance.Stage{
		succeeded:      stages[len(stages)-1:],
		denied:         {issuance.StageApprove},
		failed:         {issuance.StageSign},
		deleted:        {issuance.StageApprove, issuance.StageSign},
		refused:        {issuance.StageCreate},
		unavailable:    {issuance.StageCreate},
		badCertificate: {issuance.StageVerify},
		abandoned:      {issuance.StageApprove, issuance.StageSign},
		nodeFailure:    append([]issuance.Stage{issuance.StagePrepare, issuance.StageWrite}, stages[len(stages)-1]),
	}
}
