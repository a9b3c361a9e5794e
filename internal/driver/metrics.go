// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
)

// Metrics returns what the driver tells of its volumes and of the kubelet's calls,
// none of it by pod.
func (d *Driver) Metrics() []prometheus.Collector {
	return slices.Concat(
		[]prometheus.Collector{
			observe.NewVolumeMetrics(d.snapshots, d.config.Current, time.Now),
			observe.NewBundleMetrics(func() bool { return d.config.Current().TrustBundle.Path != "" }, d.bundles.Current),
		},
		d.server.Metrics(), d.issuances.Collectors(), d.fanOut.Collectors(),
	)
}
