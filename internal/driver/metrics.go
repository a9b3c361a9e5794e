// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics returns what the driver tells of its volumes, none of it by pod.
func (d *Driver) Metrics() []prometheus.Collector {
	return append([]prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "csi_driver_spiffe_volumes",
			Help: "Live volumes of this node.",
		}, func() float64 { live, _ := d.census(); return float64(live) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "csi_driver_spiffe_volumes_hidden",
			Help: "Live volumes mounted over something else, which containers see that were started before.",
		}, func() float64 { return float64(d.VolumesHidden()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "csi_driver_spiffe_volumes_to_reissue",
			Help: "Live volumes whose document is not what the configuration asks for now.",
		}, func() float64 { return float64(d.VolumesToReissue()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "csi_driver_spiffe_earliest_expiry_timestamp_seconds",
			Help: "When the first of the documents of live volumes expires, in seconds since 1970; 0 if there is none.",
		}, func() float64 { return d.earliestExpiry() }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "csi_driver_spiffe_renewal_failures_total",
			Help: "Renewals that failed and are tried again.",
		}, func() float64 { return float64(d.renewalFailures.Load()) }),
	}, d.bundleMetrics()...)
}

// census counts live volumes and finds the earliest end of their documents.
func (d *Driver) census() (live int, earliest time.Time) {
	d.volumes.each(func(state *volumeState) {
		meta := state.metadata()
		if meta == nil {
			return
		}
		live++
		if earliest.IsZero() || meta.NotAfter.Before(earliest) {
			earliest = meta.NotAfter
		}
	})
	return live, earliest
}

func (d *Driver) earliestExpiry() float64 {
	live, earliest := d.census()
	if live == 0 {
		return 0
	}
	return float64(earliest.Unix())
}
