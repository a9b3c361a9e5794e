// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
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
	// Healthy returns nil, or why the program must be restarted, within the
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

// serverLimits bound what clients can make a server spend. Whoever reaches the
// port can send anything; it must not end the program, nor keep probes from being
// answered.
type serverLimits struct {
	// connections is how many may be open, see connectionLimiter.
	connections int
	// requestBytes is how many bytes a request may have, its header included.
	requestBytes int64
	// write is how long it may take to answer a request and send the answer.
	write time.Duration
}

// publicLimits are those of ServeHTTP. Its honest clients are the kubelet, which
// opens a connection for each probe, one or two Prometheus servers, which keep
// theirs open, and people.
var publicLimits = serverLimits{connections: 64, requestBytes: 8 << 10, write: 10 * time.Second}

const (
	// readTimeout is for a whole request, its header included.
	readTimeout = 5 * time.Second
	// idleTimeout is how long a connection may be without a request. Prometheus
	// usually asks once a minute or more often, over the same connection.
	idleTimeout = 90 * time.Second
)

// ServeHTTP serves /healthz, /readyz, /configz and /metrics on address,
// host:port, until ctx ends. An empty address serves nothing.
//
// A configuration file that was refused does not make a program unready, for it
// goes on with the one before; the body of /readyz tells.
//
// Clients cannot make it use much memory or time: see serverLimits for what one
// connection may cost, connectionLimiter for how many there are, and coalesced for
// what all requests together may cost.
func (e Env) ServeHTTP(ctx context.Context, address string, checks Checks) error {
	if address == "" {
		<-ctx.Done()
		return nil
	}
	listener, err := listen(ctx, address)
	if err != nil {
		return fmt.Errorf("listening for probes and metrics on httpAddress %s: %w", address, err)
	}
	e.Log.Info("serving probes and metrics", "address", listener.Addr().String())
	return e.serve(ctx, listener, e.handler(ctx, checks), publicLimits)
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	config := net.ListenConfig{Control: limitSocketBuffers}
	return config.Listen(ctx, "tcp", address)
}

// serve serves HTTP until ctx ends.
func (e Env) serve(ctx context.Context, listener net.Listener, handler http.Handler, limits serverLimits) error {
	limiter := newConnectionLimiter(listener, limits, e.Log)
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      limits.write,
		IdleTimeout:       idleTimeout,
		// The limiter's count comes first.
		MaxHeaderBytes: int(limits.requestBytes),
		ConnContext:    limiter.context,
		ConnState:      limiter.follow,
		// It would read bodies, and linger. See withoutBody.
		DisableGeneralOptionsHandler: true,
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(limiter); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (e Env) handler(ctx context.Context, checks Checks) http.Handler {
	mux := http.NewServeMux()
	metrics := promhttp.HandlerFor(e.Registry, promhttp.HandlerOpts{
		EnableOpenMetrics:  true, // for whoever asks for it
		DisableCompression: true, // a compressor takes several times the memory of the page
		ErrorLog:           slog.NewLogLogger(e.Log.Handler(), slog.LevelError),
	})
	text, openMetrics := coalesce(ctx, "/metrics", "", metrics), coalesce(ctx, "/metrics", string(expfmt.FmtOpenMetrics_1_0_0), metrics)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...).FormatType() == expfmt.TypeOpenMetrics {
			openMetrics.ServeHTTP(w, r)
			return
		}
		text.ServeHTTP(w, r)
	})
	mux.Handle("GET /healthz", coalesce(ctx, "/healthz", "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := checks.healthy(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})))
	mux.Handle("GET /readyz", coalesce(ctx, "/readyz", "", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := checks.Ready(); err != nil {
			http.Error(w, strings.TrimSpace(err.Error()+"\n"+e.detail(checks)), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "ok\n"+e.detail(checks))
	})))
	mux.Handle("GET /configz", coalesce(ctx, "/configz", "", http.HandlerFunc(e.configz)))
	return withoutBody(mux)
}

// withoutBody rejects requests with a body and closes their connection at once.
// No page takes one, and the server would read what comes of it for a while, or
// linger, before it lets the connection go.
func withoutBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 { // -1 if it is not known beforehand
			next.ServeHTTP(w, r)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, "send no body", http.StatusRequestEntityTooLarge)
			return
		}
		defer conn.Close()
		if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n"+
				"Connection: close\r\n\r\nsend no body\n")
		}
	})
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
