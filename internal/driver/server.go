// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"

	csilib "github.com/cert-manager/csi-lib/driver"
	"github.com/go-logr/logr"
)

// listen makes the socket, which only root may use: whoever can call the driver
// can mount.
func listen(ctx context.Context, path string) (net.Listener, error) {
	// One of a process that was killed may be in the way.
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// serve answers the kubelet until ctx ends, and lets calls that have begun
// return.
func (d *Driver) serve(ctx context.Context, listener net.Listener) error {
	identity := &identityServer{driver: d}
	node := &nodeServer{driver: d}
	// The server of csi-lib would log whole requests, and with them the tokens
	// in the volume context; the node service logs its calls itself.
	server := csilib.NewGRPCServerWithListener(listener, logr.Discard(), identity, nil, node)
	d.log.Info("serving the kubelet", "socket", listener.Addr().String(), "node", d.node)
	defer context.AfterFunc(ctx, server.Stop)()
	return server.Run()
}
