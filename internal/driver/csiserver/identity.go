// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csiserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

// GetPluginInfo gives the driver's name and version.
func (s *Server) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: s.config.Current().Driver.Name, VendorVersion: daemon.Version()}, nil
}

// GetPluginCapabilities says that there is no controller service.
func (s *Server) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

// Probe says whether the driver can do its work. It is ready while the API
// server is away: live volumes are served all the same.
func (s *Server) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(!s.stopping.Load())}, nil
}

// Probe calls the driver on its socket as the kubelet does, over a connection of
// its own, and returns nil if it answers before ctx ends, and says that it is
// ready (CSI spec, Probe). A driver whose process lives and which does not
// answer has to be started anew.
func Probe(ctx context.Context, socket string) error {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	response, err := csi.NewIdentityClient(conn).Probe(ctx, &csi.ProbeRequest{})
	switch {
	case err != nil:
		return fmt.Errorf("CSI Probe on %s: %w", socket, err)
	case response.GetReady() != nil && !response.GetReady().GetValue():
		return errors.New("CSI Probe on " + socket + ": the driver says that it is not ready")
	}
	return nil
}
