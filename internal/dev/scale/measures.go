// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
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

// meter counts, at the drivers' own connections, what they ask of the API server
// and what their watches bring. The requests that are made in the name of pods go
// round it, for their clients take nothing over from the drivers'.
type meter struct {
	events, bytes atomic.Int64

	mu       sync.Mutex
	requests map[string]int64
}

func newMeter() *meter { return &meter{requests: map[string]int64{}} }

// byVerb returns the requests so far.
func (m *meter) byVerb(verb string) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return float64(m.requests[verb])
}

// wrap is for rest.Config.
func (m *meter) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		verb := verbOf(request)
		m.mu.Lock()
		m.requests[verb]++
		m.mu.Unlock()
		response, err := next.RoundTrip(request)
		if err == nil && verb == "WATCH" {
			response.Body = &watchBody{response.Body, m}
		}
		return response, err
	})
}

// verbOf is what the API server's own metrics call a request.
func verbOf(request *http.Request) string {
	switch {
	case request.Method != http.MethodGet:
		return request.Method
	case request.URL.Query().Has("watch"):
		return "WATCH"
	case request.URL.Query().Has("limit") || request.URL.Query().Has("labelSelector"):
		return "LIST"
	default:
		return request.Method
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// watchBody counts events: each is a line of JSON.
type watchBody struct {
	io.ReadCloser
	meter *meter
}

func (b *watchBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.meter.events.Add(int64(bytes.Count(p[:n], []byte{'\n'})))
	b.meter.bytes.Add(int64(n))
	return n, err
}

// events are what drivers have told in their logs, which is what operators see.
type events struct {
	mu sync.Mutex
	at map[string][]time.Time
	// took are the durations that came with a message.
	took map[string][]time.Duration
	// warnings are the first of those, and of the errors.
	warnings []string
}

func newEvents() *events {
	return &events{at: map[string][]time.Time{}, took: map[string][]time.Duration{}}
}

// mostWarnings is how many are kept: they tell more of the same.
const mostWarnings = 3

// warned returns the first warnings and errors.
func (e *events) warned() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.warnings)
}

// The messages of drivers that are counted.
const (
	published, renewed, failed = "published", "renewed", "renewal failed"
)

// Enabled implements slog.Handler.
func (*events) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// WithAttrs implements slog.Handler.
func (e *events) WithAttrs([]slog.Attr) slog.Handler { return e }

// WithGroup implements slog.Handler.
func (e *events) WithGroup(string) slog.Handler { return e }

// Handle implements slog.Handler.
func (e *events) Handle(_ context.Context, record slog.Record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.at[record.Message] = append(e.at[record.Message], record.Time)
	text := record.Message
	record.Attrs(func(a slog.Attr) bool {
		if a.Key == "duration" {
			e.took[record.Message] = append(e.took[record.Message], a.Value.Duration())
		}
		text += " " + a.String()
		return true
	})
	if record.Level > slog.LevelInfo && len(e.warnings) < mostWarnings {
		e.warnings = append(e.warnings, text)
	}
	return nil
}

// count is how often something was told.
func (e *events) count(message string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.at[message])
}

// slices counts a message by slices of time since began.
func (e *events) slices(message string, began time.Time, slice time.Duration) []int {
	e.mu.Lock()
	defer e.mu.Unlock()
	var counts []int
	for _, at := range e.at[message] {
		i := int(at.Sub(began) / slice)
		if i < 0 {
			continue
		}
		for len(counts) <= i {
			counts = append(counts, 0)
		}
		counts[i]++
	}
	return counts
}

// durations are those of the messages after the given number of them.
func (e *events) durations(message string, after int) []time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(slices.Values(e.took[message][min(after, len(e.took[message])):]))
}

// quantile of sorted durations, in milliseconds; 0 for none.
func quantile(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[(len(sorted)-1)*percent/100]) / float64(time.Millisecond)
}
