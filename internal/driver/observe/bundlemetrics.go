// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
)

// bundleMetrics tells of the trust bundle that is in force, all of one moment.
type bundleMetrics struct {
	current func() (*trustbundle.Bundle, error)
	asked   func() bool
}

// NewBundleMetrics returns the metrics about the trust bundle. At each scrape, current
// returns the bundle in force, nil if there is none, and why the file was refused. While
// asked returns false, since no bundle is configured, there is nothing to tell.
func NewBundleMetrics(asked func() bool, current func() (*trustbundle.Bundle, error)) prometheus.Collector {
	return &bundleMetrics{current, asked}
}

// Describe implements prometheus.Collector. What there is to tell comes and goes with
// the bundle.
func (m *bundleMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *bundleMetrics) Collect(metrics chan<- prometheus.Metric) {
	if !m.asked() {
		return
	}
	gauge := func(name, help string, value float64, labels prometheus.Labels) {
		desc := prometheus.NewDesc(prefix+"trust_bundle_"+name, help, nil, labels)
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	bundle, err := m.current()
	successful := 1.0
	if err != nil {
		successful = 0
	}
	gauge("last_reload_successful", "Whether what the trust bundle's file has now is in force (1), or was refused (0).", successful, nil)
	gauge("certificates", "Certificates in the trust bundle that is in force.", float64(len(bundle.Certificates())), nil)
	if bundle == nil {
		return
	}
	gauge("earliest_expiry_timestamp_seconds", "When the first certificate of the trust bundle expires, or has, in seconds since 1970.",
		float64(bundle.EarliestExpiry().Unix()), nil)
	gauge("info", "Always 1; the label tells which trust bundle is in force.", 1, prometheus.Labels{"hash": bundle.Hash()})
}
