// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observetest reads metrics in tests.
package observetest

import (
	"maps"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Samples returns the samples of collectors that are not 0, by name and labels as in
// "volumes{}" or "retries_total{operation=renewal}": without the prefix of the product,
// and of a histogram its _count and _sum.
func Samples(t *testing.T, collectors ...prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			name := strings.TrimPrefix(family.GetName(), "csi_driver_spiffe_")
			in := func(name string) string { return name + "{" + strings.Join(labels, ",") + "}" }
			switch family.GetType() {
			case dto.MetricType_HISTOGRAM:
				found[in(name+"_count")] = float64(metric.GetHistogram().GetSampleCount())
				found[in(name+"_sum")] = metric.GetHistogram().GetSampleSum()
			case dto.MetricType_COUNTER:
				found[in(name)] = metric.GetCounter().GetValue()
			default:
				found[in(name)] = metric.GetGauge().GetValue()
			}
		}
	}
	maps.DeleteFunc(found, func(_ string, value float64) bool { return value == 0 })
	return found
}
