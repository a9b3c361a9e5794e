// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"net"

	csilib "github.com/cert-manager/csi-lib/driver"
	"github.com/go-logr/logr"
)

// serve answers the kubelet until ctx ends, and lets calls that have begun
// return.
func (d *Driver) serve(ctx context.Context, listener net.Listener) error {
	// The server of csi-lib would log whole requests, and with them the tokens
	// in the volume context; the node service logs its calls itself.
	server := csilib.NewGRPCServerWithListener(listener, logr.Discard(),
		measuredIdentity{&identityServer{driver: d}, d.calls}, nil, measuredNode{&nodeServer{driver: d}, d.calls})
	d.log.Info("serving the kubelet", "socket", listener.Addr().String(), "node", d.owner.Node)
	defer context.AfterFunc(ctx, server.Stop)()
	return server.Run()
}
