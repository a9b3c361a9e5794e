// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Probe calls the driver on its socket as the kubelet does, over a connection of
// its own, and returns nil if it answers before ctx ends, and says that it is
// ready (CSI spec, Probe). A driver whose process lives and which does not
// answer has to be started anew.
func (d *Driver) Probe(ctx context.Context) error {
	conn, err := grpc.NewClient("unix://"+d.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	response, err := csi.NewIdentityClient(conn).Probe(ctx, &csi.ProbeRequest{})
	switch {
	case err != nil:
		return fmt.Errorf("CSI Probe on %s: %w", d.socket, err)
	case response.GetReady() != nil && !response.GetReady().GetValue():
		return errors.New("CSI Probe on " + d.socket + ": the driver says that it is not ready")
	}
	return nil
}
