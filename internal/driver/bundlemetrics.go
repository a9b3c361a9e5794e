// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import "github.com/prometheus/client_golang/prometheus"

// bundleMetrics are about the trust bundle, and how it reaches live volumes.
func (d *Driver) bundleMetrics() []prometheus.Collector {
	return []prometheus.Collector{
		&bundleCollector{d},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "csi_driver_spiffe_volumes_behind",
			Help: "Live volumes that do not have the trust bundle in force, or not the files that the configuration asks for.",
		}, func() float64 { return float64(d.VolumesBehind()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "csi_driver_spiffe_fan_out_failures_total",
			Help: "Attempts to bring a volume the trust bundle or files that failed and are tried again.",
		}, func() float64 { return float64(d.behind.failures.Load()) }),
		d.behind.durations,
	}
}

// bundleCollector tells of the trust bundle that is in force, all of one moment.
type bundleCollector struct{ driver *Driver }

// Describe implements prometheus.Collector. What there is to tell comes and goes
// with the bundle.
func (c *bundleCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector. Without trustBundle.path it tells
// nothing.
func (c *bundleCollector) Collect(metrics chan<- prometheus.Metric) {
	if c.driver.config.Current().TrustBundle.Path == "" {
		return
	}
	gauge := func(name, help string, value float64, labels prometheus.Labels) {
		desc := prometheus.NewDesc("csi_driver_spiffe_trust_bundle_"+name, help, nil, labels)
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	bundle, err := c.driver.bundles.Current()
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
