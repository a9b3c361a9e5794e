// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

// Requests to the API server are counted by what came of them, and not by what
// they were about. Whoever is asked last knows of all.
func TestRequestsToTheAPIServerAreMeasured(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot) // which nobody else in this process is told
	}))
	t.Cleanup(server.Close)
	first, last := daemon.NewRegistry(), daemon.NewRegistry()
	before := value(t, first, `rest_client_requests_total{code="418",method="GET"}`)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, RateLimiter: flowcontrol.NewTokenBucketRateLimiter(20, 1)})
	check(t, err)
	for range 3 {
		if _, err := client.CoreV1().Pods("sandbox").Get(t.Context(), "web-0", metav1.GetOptions{}); err == nil {
			t.Error("the API server is a teapot")
		}
	}
	for name, registry := range map[string]*prometheus.Registry{"first": first, "last": last} {
		if got := value(t, registry, `rest_client_requests_total{code="418",method="GET"}`); got != before+3 {
			t.Errorf("%s registry: %g requests, want 3", name, got-before)
		}
		for _, histogram := range []string{"rest_client_request_duration_seconds", "rest_client_rate_limiter_duration_seconds"} {
			if got := value(t, registry, histogram+`_count{verb="GET"}`); got < 3 {
				t.Errorf("%s registry: %s has %g", name, histogram, got)
			}
		}
	}
	text := exposition(t, last)
	for _, name := range []string{"sandbox", "web-0", strings.TrimPrefix(server.URL, "http://")} {
		if strings.Contains(text, name) {
			t.Errorf("%s is in the metrics", name)
		}
	}
	problems, err := testutil.GatherAndLint(last)
	check(t, err)
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

// What the client library does again by itself nobody else hears of.
func TestRetriesOfTheClientAreCounted(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "1") // in whole seconds; with 0 it would not try again
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	check(t, err)
	check(t, client.CoreV1().Pods("sandbox").Delete(t.Context(), "web-0", metav1.DeleteOptions{}))
	registry := daemon.NewRegistry()
	if got := value(t, registry, `rest_client_request_retries_total{code="204",verb="DELETE"}`); got != 1 {
		t.Errorf("%g retries after %d requests", got, asked.Load())
	}
}

// exposition is what a scrape gets.
func exposition(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	return answer.Body.String()
}

// value is that of a sample, 0 if there is none.
func value(t *testing.T, registry *prometheus.Registry, sample string) float64 {
	t.Helper()
	for line := range strings.Lines(exposition(t, registry)) {
		if text, found := strings.CutPrefix(line, sample+" "); found {
			number, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			check(t, err)
			return number
		}
	}
	return 0
}
