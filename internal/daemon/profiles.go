// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof" //nolint:gosec // What it adds to http.DefaultServeMux is served by nobody.
)

// ServeProfiles serves profiles of the process at /debug/pprof/ on address,
// host:port, as `go tool pprof` fetches them, until ctx ends. An empty address
// serves nothing. It is a server of its own, so that whoever may read metrics
// cannot make the process work.
func (e Env) ServeProfiles(ctx context.Context, address string) error {
	if address == "" {
		<-ctx.Done()
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // and what runtime/pprof has: heap, goroutine, …
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	if err := e.serve(ctx, address, "profiles", mux); err != nil {
		return fmt.Errorf("serving profiles on profilingAddress %s: %w", address, err)
	}
	return nil
}
