// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	check(t, listener.Close())
	return listener.Addr().String()
}

// serveProfiles serves on address until the test ends.
func serveProfiles(t *testing.T, address string) {
	t.Helper()
	reader, writer := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- daemon.Env{Log: slog.New(slog.NewTextHandler(writer, nil))}.ServeProfiles(ctx, address)
	}()
	line := make([]byte, 1000)
	n, err := reader.Read(line)
	check(t, err)
	if !strings.Contains(string(line[:n]), `msg="serving profiles" address=`+address) {
		t.Errorf("logged %s", line[:n])
	}
	t.Cleanup(func() {
		stop()
		check(t, <-ended)
	})
}

func TestServeProfiles(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	serveProfiles(t, address)
	for path, want := range map[string]string{
		"/debug/pprof/":                     "goroutine",
		"/debug/pprof/cmdline":              "daemon.test",
		"/debug/pprof/goroutine?debug=1":    "goroutine profile: total",
		"/debug/pprof/heap?debug=1":         "heap profile",
		"/debug/pprof/symbol":               "num_symbols",
		"/debug/pprof/profile?seconds=1":    "",
		"/debug/pprof/trace?seconds=0.0001": "",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			if code, body := get(t, "http://"+address+path); code != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("%d %.200q", code, body)
			}
		})
	}
	for _, path := range []string{"/", "/metrics", "/configz", "/debug", "/debug/vars"} {
		if code, _ := get(t, "http://"+address+path); code != http.StatusNotFound {
			t.Errorf("%s is %d", path, code)
		}
	}
}

func TestProfilesAreServedNowhereUnlessAskedFor(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	check(t, daemon.Env{}.ServeProfiles(ctx, ""))
}

func TestServeProfilesOnAnAddressThatIsTaken(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	serveProfiles(t, address)
	err := daemon.Env{Log: slog.New(slog.DiscardHandler)}.ServeProfiles(t.Context(), address)
	if err == nil || !strings.Contains(err.Error(), "profilingAddress "+address) {
		t.Errorf("got %v", err)
	}
}
