// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof" // What it adds to http.DefaultServeMux is served by nobody.
	"time"
)

// profileLimits are those of ServeProfiles. A profile or trace may be of up to two
// minutes: net/http/pprof rejects one that would take longer. Symbols are looked
// up by a POST request with many addresses.
var profileLimits = serverLimits{connections: 8, requestBytes: 1 << 20, write: 2*time.Minute + 10*time.Second}

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
	listener, err := listen(ctx, address)
	if err != nil {
		return fmt.Errorf("listening for profiles on profilingAddress %s: %w", address, err)
	}
	e.Log.Info("serving profiles", "address", listener.Addr().String())
	return e.serve(ctx, listener, mux, profileLimits)
}
