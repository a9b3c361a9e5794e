// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
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

// measured answers a call, and measures it.
func measured[Request, Response any](ctx context.Context, c calls, method string, request Request, answer func(context.Context, Request) (Response, error)) (Response, error) {
	began := time.Now()
	response, err := answer(ctx, request)
	c.WithLabelValues(method, status.Code(err).String()).Observe(time.Since(began).Seconds())
	return response, err
}

// measuredNode is a node service whose calls are measured. The server of csi-lib
// takes no interceptor.
type measuredNode struct {
	csi.NodeServer
	calls calls
}

// NodePublishVolume is that of the node service.
func (m measuredNode) NodePublishVolume(ctx context.Context, request *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	return measured(ctx, m.calls, csi.Node_NodePublishVolume_FullMethodName, request, m.NodeServer.NodePublishVolume)
}

// NodeUnpublishVolume is that of the node service.
func (m measuredNode) NodeUnpublishVolume(ctx context.Context, request *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	return measured(ctx, m.calls, csi.Node_NodeUnpublishVolume_FullMethodName, request, m.NodeServer.NodeUnpublishVolume)
}

// NodeGetCapabilities is that of the node service.
func (m measuredNode) NodeGetCapabilities(ctx context.Context, request *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return measured(ctx, m.calls, csi.Node_NodeGetCapabilities_FullMethodName, request, m.NodeServer.NodeGetCapabilities)
}

// NodeGetInfo is that of the node service.
func (m measuredNode) NodeGetInfo(ctx context.Context, request *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return measured(ctx, m.calls, csi.Node_NodeGetInfo_FullMethodName, request, m.NodeServer.NodeGetInfo)
}

// measuredIdentity is an identity service whose calls are measured.
type measuredIdentity struct {
	csi.IdentityServer
	calls calls
}

// GetPluginInfo is that of the identity service.
func (m measuredIdentity) GetPluginInfo(ctx context.Context, request *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return measured(ctx, m.calls, csi.Identity_GetPluginInfo_FullMethodName, request, m.IdentityServer.GetPluginInfo)
}

// GetPluginCapabilities is that of the identity service.
func (m measuredIdentity) GetPluginCapabilities(ctx context.Context, request *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return measured(ctx, m.calls, csi.Identity_GetPluginCapabilities_FullMethodName, request, m.IdentityServer.GetPluginCapabilities)
}

// Probe is that of the identity service.
func (m measuredIdentity) Probe(ctx context.Context, request *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return measured(ctx, m.calls, csi.Identity_Probe_FullMethodName, request, m.IdentityServer.Probe)
}
