// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

// identityServer is the CSI identity service (CSI spec, "Identity Service RPC").
type identityServer struct {
	csi.UnimplementedIdentityServer
	driver *Driver
}

// GetPluginInfo gives the driver's name and version.
func (s *identityServer) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: s.driver.config.Current().Driver.Name, VendorVersion: daemon.Version()}, nil
}

// GetPluginCapabilities says that there is no controller service.
func (s *identityServer) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

// Probe says whether the driver can do its work. It is ready while the API
// server is away: live volumes are served all the same.
func (s *identityServer) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(s.driver.life.Err() == nil)}, nil
}
