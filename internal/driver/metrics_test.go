// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func TestMetricsOfVolumes(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	registry := prometheus.NewRegistry()
	registry.MustRegister(d.Metrics()...)
	compare := func(volumes int, earliest time.Time) {
		t.Helper()
		seconds := int64(0)
		if volumes > 0 {
			seconds = earliest.Unix()
		}
		want := fmt.Sprintf(`# HELP csi_driver_spiffe_earliest_expiry_timestamp_seconds When the first of the documents of live volumes expires, in seconds since 1970; 0 if there is none.
# TYPE csi_driver_spiffe_earliest_expiry_timestamp_seconds gauge
csi_driver_spiffe_earliest_expiry_timestamp_seconds %g
# HELP csi_driver_spiffe_volumes Live volumes of this node.
# TYPE csi_driver_spiffe_volumes gauge
csi_driver_spiffe_volumes %d
`, float64(seconds), volumes)
		check(t, testutil.GatherAndCompare(registry, strings.NewReader(want),
			"csi_driver_spiffe_volumes", "csi_driver_spiffe_earliest_expiry_timestamp_seconds"))
	}
	compare(0, time.Time{})
	now := time.Now()
	for id, left := range map[string]time.Duration{"a": 2 * time.Hour, "b": time.Hour, "c": 3 * time.Hour} {
		d.volumes.acquire(id).setMetadata(&volume.Metadata{NotAfter: now.Add(left)})
	}
	compare(3, now.Add(time.Hour))
}
