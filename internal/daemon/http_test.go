// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

// serve serves on a free port until the test ends, and returns the URL. The
// address is told by the log, where an operator finds it too.
func serve(t *testing.T, ready func() error) string {
	t.Helper()
	reader, writer := io.Pipe()
	log := slog.New(slog.NewJSONHandler(writer, nil))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- daemon.ServeHTTP(ctx, log, "127.0.0.1:0", ready, daemon.NewRegistry()) }()
	t.Cleanup(func() { stop(); check(t, <-ended) })
	var line struct{ Address string }
	check(t, json.NewDecoder(reader).Decode(&line))
	return "http://" + line.Address
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	response, err := http.Get(url)
	check(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	check(t, err)
	return response.StatusCode, string(data)
}

func TestServeHTTP(t *testing.T) {
	t.Parallel()
	good := serve(t, func() error { return nil })
	bad := serve(t, func() error { return errors.New("the API server is away") })
	for _, row := range []struct {
		name, url string
		code      int
		body      string
	}{
		{"alive", good + "/healthz", http.StatusOK, "ok\n"},
		{"ready", good + "/readyz", http.StatusOK, "ok\n"},
		{"alive, though not ready", bad + "/healthz", http.StatusOK, "ok\n"},
		{"not ready, and why", bad + "/readyz", http.StatusServiceUnavailable, "the API server is away\n"},
		{"build", good + "/metrics", http.StatusOK, `csi_driver_spiffe_build_info{version="` + daemon.Version() + `"} 1`},
		{"Go runtime", good + "/metrics", http.StatusOK, "go_goroutines "},
		{"process", good + "/metrics", http.StatusOK, "process_open_fds "},
		{"nothing else", good + "/", http.StatusNotFound, ""},
		{"no profiles", good + "/debug/pprof/", http.StatusNotFound, ""},
	} {
		code, body := get(t, row.url)
		if code != row.code || !strings.Contains(body, row.body) {
			t.Errorf("%s: %d %.200q, want %d %q", row.name, code, body, row.code, row.body)
		}
	}
	response, err := http.Post(good+"/healthz", "text/plain", nil)
	check(t, err)
	check(t, response.Body.Close())
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST gives %d", response.StatusCode)
	}
}

func TestServeHTTPOnNoAddressServesNothing(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	check(t, daemon.ServeHTTP(ctx, slog.New(slog.DiscardHandler), "", nil, nil))
}

func TestServeHTTPOnAnAddressThatIsTaken(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	address := listener.Addr().String()
	err = daemon.ServeHTTP(t.Context(), slog.New(slog.DiscardHandler), address, nil, daemon.NewRegistry())
	if err == nil || !strings.Contains(err.Error(), "httpAddress "+address) {
		t.Errorf("got %v", err)
	}
}
