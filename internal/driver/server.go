// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"net"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
)

// serve answers the kubelet until ctx ends, and lets calls that have begun
// return. It is not csi-lib's server, which cannot be told to measure calls, and
// would log whole requests, and with them the tokens in the volume context; the
// node service logs its calls itself.
func (d *Driver) serve(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(grpc.UnaryInterceptor(d.calls.intercept))
	csi.RegisterIdentityServer(server, &identityServer{driver: d})
	csi.RegisterNodeServer(server, &nodeServer{driver: d})
	d.log.Info("serving the kubelet", "socket", listener.Addr().String(), "node", d.node)
	defer context.AfterFunc(ctx, server.GracefulStop)()
	return server.Serve(listener)
}
