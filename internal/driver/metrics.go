// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics returns what the driver tells of its volumes and of the kubelet's calls,
// none of it by pod.
func (d *Driver) Metrics() []prometheus.Collector {
	all := []prometheus.Collector{
		&volumesCollector{d},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "csi_driver_spiffe_volumes_to_reissue",
			Help: "Live volumes whose document is not what the configuration asks for now.",
		}, func() float64 { return float64(d.VolumesToReissue()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "csi_driver_spiffe_renewal_failures_total",
			Help: "Renewals that failed and are tried again.",
		}, func() float64 { return float64(d.renewalFailures.Load()) }),
		d.calls,
	}
	all = append(all, d.issuances.all...)
	return append(all, d.bundleMetrics()...)
}
