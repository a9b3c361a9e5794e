// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package csiserver answers the kubelet: it is the CSI identity service and the CSI node
// service of the driver (CSI spec, "RPC Interface").
//
// It reads a call, checks all that can be told from it alone, hands what is left to
// [Volumes], and turns the outcome into a gRPC status that helps whoever reads the pod's
// events:
//
//	server.go    the gRPC server and its metrics
//	identity.go  the identity service
//	node.go      the node service
//	request.go   what NodePublishVolume must say, and the pod's token
//	status.go    errors as the kubelet, and the people who read events, need them
//
// Package registration makes the server known to the kubelet.
package csiserver

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
)

// Volumes are the volumes of the node.
type Volumes interface {
	// Publish makes sure that the volume is in its pod, with a whole SVID in it.
	Publish(ctx context.Context, c *config.Config, request manager.PublishRequest) error
	// Keeps reports whether there is a volume at the target of a request that cannot be
	// used, because of err. It stays as it is then, and the call succeeds.
	Keeps(c *config.Config, request manager.UnusableRequest, err error) bool
	// Unpublish takes the volume out of the pod and destroys all of it. It succeeds if
	// there is no such volume.
	Unpublish(ctx context.Context, id, target string) error
	// IsAt reports whether the volume is known to be at the target.
	IsAt(id, target string) bool
	// Occupied returns an error if another volume is at the target.
	Occupied(id, target string) error
	// Snapshot returns what is known of a volume, which may be nothing.
	Snapshot(id string) observe.Snapshot
}

// Options is what a server is made from. All fields are required.
type Options struct {
	// Node is the name of the Kubernetes node.
	Node string
	// Config holds the configuration; each call takes one snapshot.
	Config  *config.Holder
	Volumes Volumes
	// Log gets a line for each call that fails or unpublishes, and never a secret.
	Log *slog.Logger
}

// Server is the CSI identity service and node service. Make one with [New].
type Server struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	node      string
	config    *config.Holder
	volumes   Volumes
	log       *slog.Logger
	durations *prometheus.HistogramVec
	// stopping is set when the server accepts no further calls.
	stopping atomic.Bool
}

// New returns a server that does not serve yet.
func New(options Options) *Server {
	s := &Server{
		node: options.Node, config: options.Config, volumes: options.Volumes, log: options.Log,
		// The labels are those of the kubelet (csi_operations_seconds) and the CSI sidecars
		// (csi_sidecar_operations_seconds) for the calls that they make.
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "csi_driver_spiffe_csi_operations_seconds",
			Help:    "How long CSI calls took, by method and gRPC status code. Most calls of NodePublishVolume find the volume there and are short.",
			Buckets: []float64{.001, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 120},
		}, []string{"method_name", "grpc_status_code"}),
	}
	for _, method := range []string{csi.Node_NodePublishVolume_FullMethodName, csi.Node_NodeUnpublishVolume_FullMethodName} {
		s.durations.WithLabelValues(method, codes.OK.String())
	}
	return s
}

// Metrics returns the metrics of calls, none of them by pod.
func (s *Server) Metrics() []prometheus.Collector { return []prometheus.Collector{s.durations} }

// Serve answers the kubelet until ctx ends, and lets calls that have begun return. It
// closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(grpc.UnaryInterceptor(s.measure))
	csi.RegisterIdentityServer(server, s)
	csi.RegisterNodeServer(server, s)
	s.log.Info("serving the kubelet", "socket", listener.Addr().String(), "node", s.node)
	defer context.AfterFunc(ctx, func() {
		s.stopping.Store(true)
		server.GracefulStop()
	})()
	return server.Serve(listener)
}

// measure answers a call, and measures it.
func (s *Server) measure(ctx context.Context, request any, call *grpc.UnaryServerInfo, answer grpc.UnaryHandler) (any, error) {
	began := time.Now()
	response, err := answer(ctx, request)
	s.durations.WithLabelValues(call.FullMethod, status.Code(err).String()).Observe(time.Since(began).Seconds())
	return response, err
}
