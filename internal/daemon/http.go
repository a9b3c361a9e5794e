// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// HashHeader is the header of /configz that names the running configuration.
const HashHeader = "X-Config-Hash"

// NewRegistry returns a metrics registry with what every program should tell:
// the Go runtime, the process, the build, and its requests to the Kubernetes API.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "csi_driver_spiffe_build_info",
		Help:        "Always 1; the version is in the label.",
		ConstLabels: prometheus.Labels{"version": Version()},
	})
	build.Set(1)
	registry.MustRegister(build, ofClients, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// Checks are how a program finds out how it is.
type Checks struct {
	// Healthy returns nil, or why the program has to be started anew, within the
	// time that ctx gives it: it is for liveness probes. A nil one is always
	// healthy.
	Healthy func(ctx context.Context) error
	// Ready returns nil, or why the program cannot do its work now.
	Ready func() error
	// Detail returns what an operator should know though the program is ready, as
	// lines, or nothing. It may be nil.
	Detail func() string
}

// healthTimeout is how long it may take to find out whether a program is
// healthy. The timeout of the liveness probe should be longer.
const healthTimeout = 3 * time.Second

// ServeHTTP serves /healthz, /readyz, /configz and /metrics on address,
// host:port, until ctx ends. An empty address serves nothing.
//
// A configuration file that was refused does not make a program unready, for it
// goes on with the one before; the body of /readyz tells.
func (e Env) ServeHTTP(ctx context.Context, address string, checks Checks) error {
	if address == "" {
		<-ctx.Done()
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening for probes and metrics on httpAddress %s: %w", address, err)
	}
	e.Log.Info("serving probes and metrics", "address", listener.Addr().String())
	return serve(ctx, listener, e.handler(checks))
}

// serve serves HTTP until ctx ends.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (e Env) handler(checks Checks) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(e.Registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, // for whoever asks for it
		ErrorLog:          slog.NewLogLogger(e.Log.Handler(), slog.LevelError),
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := checks.healthy(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := checks.Ready(); err != nil {
			http.Error(w, strings.TrimSpace(err.Error()+"\n"+e.detail(checks)), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "ok\n"+e.detail(checks))
	})
	mux.HandleFunc("GET /configz", e.configz)
	return mux
}

// detail is what an operator should know, whether or not the program is ready.
func (e Env) detail(checks Checks) string {
	text := e.status.detail()
	if checks.Detail != nil {
		text += printable(checks.Detail())
	}
	return text
}

func (c Checks) healthy(ctx context.Context) error {
	if c.Healthy == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return c.Healthy(ctx)
}

func (e Env) configz(w http.ResponseWriter, _ *http.Request) {
	hash, data, err := e.status.yaml()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set(HashHeader, hash)
	_, _ = w.Write(data)
}
