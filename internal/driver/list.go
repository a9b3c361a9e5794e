// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"net"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/socket"
)

// List tells what volumes the node has, and how they are.
func (d *Driver) List() listing.List { return observe.List(d.owner.Node, d.snapshots()) }

// listenForList makes the socket of the command volumes, or returns nil: that
// there is none is no reason not to serve the kubelet.
func (d *Driver) listenForList(ctx context.Context) net.Listener {
	listener, err := socket.Listen(ctx, listing.Socket(d.socket))
	if err != nil {
		d.log.Warn(noAnswer, "error", err)
		return nil
	}
	return listener
}

// serveList answers the command volumes until ctx ends.
func (d *Driver) serveList(ctx context.Context, listener net.Listener) {
	if listener == nil {
		return
	}
	if err := listing.Serve(ctx, listener, d.List); err != nil {
		d.log.Warn(noAnswer, "error", err)
	}
}

// noAnswer is told of where the command volumes cannot be served.
const noAnswer = "the command volumes will get no answer"
