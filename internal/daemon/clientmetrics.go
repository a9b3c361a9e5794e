// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/metrics"
)

// clientMetrics are about the requests that the process makes to the Kubernetes
// API, under the names that Kubernetes' own components have for them
// (k8s.io/component-base/metrics/prometheus/restclient). The label host is left
// out, for there is one API server.
type clientMetrics struct {
	requests            *prometheus.CounterVec
	retries             *prometheus.CounterVec
	durations, limiting *prometheus.HistogramVec
}

// ofClients are those of all clients of the process: client-go has one set of
// hooks, reads them without a lock, and takes the first that it is given. Hence
// they are set before there is a goroutine that might make a request.
var ofClients = hookIntoClients()

func hookIntoClients() *clientMetrics {
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rest_client_" + name, Help: help, Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"verb"})
	}
	m := &clientMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rest_client_requests_total", Help: "Requests to the Kubernetes API by status code, <error> if there was no answer, and HTTP method.",
		}, []string{"code", "method"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rest_client_request_retries_total", Help: "Requests to the Kubernetes API that its client has made again, by the status code that they got then and HTTP method.",
		}, []string{"code", "verb"}),
		durations: histogram("request_duration_seconds", "How long requests to the Kubernetes API took, with what the client made again, and without watches, by HTTP method."),
		limiting:  histogram("rate_limiter_duration_seconds", "Time for which requests to the Kubernetes API waited for the limit kubeAPIQPS, by HTTP method."),
	}
	metrics.Register(metrics.RegisterOpts{
		RequestLatency: latencies{m.durations}, RateLimiterLatency: latencies{m.limiting},
		RequestResult: results{m.requests}, RequestRetry: retries{m.retries},
	})
	return m
}

// Describe implements prometheus.Collector.
func (m *clientMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(descs)
	}
}

// Collect implements prometheus.Collector.
func (m *clientMetrics) Collect(into chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(into)
	}
}

func (m *clientMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.retries, m.durations, m.limiting}
}

// latencies is a hook of client-go (metrics.LatencyMetric).
type latencies struct{ *prometheus.HistogramVec }

// Observe takes nothing of the URL, in which there are names.
func (l latencies) Observe(_ context.Context, verb string, _ url.URL, latency time.Duration) {
	l.WithLabelValues(verb).Observe(latency.Seconds())
}

// results is a hook of client-go (metrics.ResultMetric).
type results struct{ *prometheus.CounterVec }

// Increment counts an answer.
func (r results) Increment(_ context.Context, code, method, _ string) {
	r.WithLabelValues(code, method).Inc()
}

// retries is a hook of client-go (metrics.RetryMetric).
type retries struct{ *prometheus.CounterVec }

// IncrementRetry counts a request that is made again.
func (r retries) IncrementRetry(_ context.Context, code, verb, _ string) {
	r.WithLabelValues(code, verb).Inc()
}
