// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package part

import (
	"net/url"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/supervisor"
)

// runEtcd runs a single etcd member which listens on a UNIX socket only.
func runEtcd() error {
	config := embed.NewConfig()
	config.Dir = statedir.EtcdData
	config.LogLevel = "error"
	// The data goes when the process does: there is no crash to survive.
	config.UnsafeNoFsync = true
	config.ListenClientUrls = []url.URL{{Scheme: "unix", Host: statedir.EtcdSocket}}
	// There are no other members. The addresses that would be advertised to them
	// keep their defaults; they are text that nobody reads.
	config.ListenPeerUrls = nil

	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	select {
	case <-server.Server.ReadyNotify():
	case err := <-server.Err():
		return err
	}
	if err := supervisor.Ready(); err != nil {
		return err
	}
	return <-server.Err()
}
