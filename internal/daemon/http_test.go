// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

func TestServeHTTP(t *testing.T) {
	p := start(t, minimal+serving)
	own := prometheus.NewCounter(prometheus.CounterOpts{Name: "own_total"})
	p.env.Registry.MustRegister(own)
	for _, row := range []struct {
		name, path string
		ready      error
		code       int
		body       string
	}{
		{"alive", "/healthz", nil, http.StatusOK, "ok\n"},
		{"ready", "/readyz", nil, http.StatusOK, "ok\n"},
		{"alive, though not ready", "/healthz", errors.New("the API server is away"), http.StatusOK, "ok\n"},
		{"not ready, and why", "/readyz", errors.New("the API server is away"), http.StatusServiceUnavailable, "the API server is away\n"},
		{"build", "/metrics", nil, http.StatusOK, `csi_driver_spiffe_build_info{version="` + daemon.Version() + `"} 1`},
		{"Go runtime", "/metrics", nil, http.StatusOK, "go_goroutines "},
		{"process", "/metrics", nil, http.StatusOK, "process_open_fds "},
		{"the program's own", "/metrics", nil, http.StatusOK, "own_total 0\n"},
		{"configuration", "/configz", nil, http.StatusOK, "trustDomain: my.trust.domain\n"},
		{"nothing else", "/", nil, http.StatusNotFound, ""},
		{"no profiles", "/debug/pprof/", nil, http.StatusNotFound, ""},
	} {
		p.ready = func() error { return row.ready }
		code, body := get(t, p.url+row.path)
		if code != row.code || !strings.Contains(body, row.body) {
			t.Errorf("%s: %d %.200q, want %d %q", row.name, code, body, row.code, row.body)
		}
	}
	p.health = func(ctx context.Context) error {
		if _, limited := ctx.Deadline(); !limited {
			t.Error("asked for its health without a limit of time")
		}
		return errors.New("CSI Probe: nobody answers")
	}
	if code, body := get(t, p.url+"/healthz"); code != http.StatusServiceUnavailable || body != "CSI Probe: nobody answers\n" {
		t.Errorf("not alive: %d %q", code, body)
	}
	response, err := http.Post(p.url+"/healthz", "text/plain", nil)
	check(t, err)
	check(t, response.Body.Close())
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST gives %d", response.StatusCode)
	}
}

// What else an operator should know is told whether or not the program is ready.
func TestReadyzHasTheProgramsDetail(t *testing.T) {
	p := start(t, minimal+serving)
	p.detail = "trust bundle refused: \x1b[31m\n"
	if code, body := get(t, p.url+"/readyz"); code != http.StatusOK || body != "ok\ntrust bundle refused: \uFFFD[31m\n" {
		t.Errorf("got %d, %q", code, body)
	}
	p.ready = func() error { return errors.New("no API server") }
	if code, body := get(t, p.url+"/readyz"); code != http.StatusServiceUnavailable || !strings.HasPrefix(body, "no API server\ntrust bundle refused") {
		t.Errorf("got %d, %q", code, body)
	}
}

// Whoever asks for OpenMetrics gets it, all others the older format.
func TestMetricsInOpenMetrics(t *testing.T) {
	p := start(t, minimal+serving)
	for accept, want := range map[string]string{
		"": "text/plain", "application/openmetrics-text;version=1.0.0": "application/openmetrics-text",
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/metrics", http.NoBody)
		check(t, err)
		request.Header.Set("Accept", accept)
		response, err := http.DefaultClient.Do(request)
		check(t, err)
		body, err := io.ReadAll(response.Body)
		check(t, err)
		check(t, response.Body.Close())
		if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, want) || strings.HasSuffix(string(body), "# EOF\n") != (accept != "") {
			t.Errorf("asked for %q, got %s", accept, kind)
		}
	}
}

func TestServeHTTPOnNoAddressServesNothing(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	check(t, daemon.Env{}.ServeHTTP(ctx, "", daemon.Checks{}))
}

func TestServeHTTPOnAnAddressThatIsTaken(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	address := listener.Addr().String()
	err = daemon.Env{Log: slog.New(slog.DiscardHandler)}.ServeHTTP(t.Context(), address, daemon.Checks{})
	if err == nil || !strings.Contains(err.Error(), "httpAddress "+address) {
		t.Errorf("got %v", err)
	}
}
