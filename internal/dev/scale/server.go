// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"time"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/client-go/kubernetes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// metrics are those of a process at one moment.
type metrics struct {
	at       time.Time
	families map[string]*dto.MetricFamily
}

// apiServerMetrics asks the API server for its own.
func apiServerMetrics(ctx context.Context, client kubernetes.Interface) (metrics, error) {
	data, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return metrics{}, err
	}
	return parseMetrics(data)
}

// metricsOf asks a daemon for its own.
func metricsOf(ctx context.Context, address string) (metrics, error) {
	families, err := testkit.Scrape(ctx, address)
	return metrics{time.Now(), families}, err
}

func parseMetrics(data []byte) (metrics, error) {
	families, err := testkit.ParseMetrics(bytes.NewReader(data))
	return metrics{time.Now(), families}, err
}

// sum adds up the values of a family that have these labels (name, value, …).
func (m metrics) sum(family string, labels ...string) (sum float64) {
	for _, metric := range m.families[family].GetMetric() {
		if !hasLabels(metric, labels) {
			continue
		}
		sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + metric.GetUntyped().GetValue() + metric.GetHistogram().GetSampleSum()
	}
	return sum
}

func hasLabels(metric *dto.Metric, labels []string) bool {
	has := map[string]string{}
	for _, label := range metric.GetLabel() {
		has[label.GetName()] = label.GetValue()
	}
	for i := 0; i+1 < len(labels); i += 2 {
		if has[labels[i]] != labels[i+1] {
			return false
		}
	}
	return true
}

// The API server's names for CertificateRequests.
const (
	resource   = "certificaterequests"
	ofResource = resource + ".cert-manager.io"
)

// requests are those for CertificateRequests with a verb, of whatever outcome.
func (m metrics) requests(verb string) float64 {
	return m.sum("apiserver_request_total", "resource", resource, "verb", verb)
}

// watchEvents are those of CertificateRequests, to all who watch.
func (m metrics) watchEvents() float64 {
	return m.sum("apiserver_watch_events_total", "resource", resource)
}

func (m metrics) databaseBytes() float64 { return m.sum("apiserver_storage_size_bytes") }
