// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// calls measures the CSI calls that the driver answers, under the labels that
// the kubelet (csi_operations_seconds) and the CSI sidecars
// (csi_sidecar_operations_seconds) have for those that they make.
type calls struct{ *prometheus.HistogramVec }

func newCalls() calls {
	c := calls{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "csi_driver_spiffe_csi_operations_seconds",
		Help:    "How long CSI calls took, by method and gRPC status code. Most calls of NodePublishVolume find the volume there and are short.",
		Buckets: []float64{.001, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 120},
	}, []string{"method_name", "grpc_status_code"})}
	for _, method := range []string{csi.Node_NodePublishVolume_FullMethodName, csi.Node_NodeUnpublishVolume_FullMethodName} {
		c.WithLabelValues(method, codes.OK.String())
	}
	return c
}

// intercept is a grpc.UnaryServerInterceptor. gRPC calls it for methods that
// there are, and for no others.
func (c calls) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	began := time.Now()
	response, err := handler(ctx, request)
	c.WithLabelValues(info.FullMethod, status.Code(err).String()).Observe(time.Since(began).Seconds())
	return response, err
}
