// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"net"
	"syscall"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/pki"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"
)

// An Addition is something that a cluster has beyond API server and cert-manager,
// such as a node. Its parts are run by the program's PartCommand like all others.
type Addition interface {
	// APIServerAddress is where the API server has to listen for it.
	APIServerAddress() *net.TCPAddr
	// Prepare writes what its parts read into the state folder, before anything
	// runs. The API server's URL is server.
	Prepare(dir *statedir.Dir, ca *pki.CA, server string) error
	// Parts are started, in this order, when all others are ready.
	Parts() []AdditionalPart
	// Environment is what a command that uses the cluster is told, as NAME=VALUE.
	Environment() []string
	// WaitReady waits until it does what it is for.
	WaitReady(ctx context.Context, kubeconfig string) error
}

// An AdditionalPart is a part of an [Addition].
type AdditionalPart struct {
	// Name is the part's name, the last argument of PartCommand.
	Name string
	// StopSignal is as in [supervisor.Part]: 0 to be killed.
	StopSignal syscall.Signal
}

func (c *Cluster) apiServerAddress() *net.TCPAddr {
	if c.options.Addition == nil {
		return loopback()
	}
	return c.options.Addition.APIServerAddress()
}

func (c *Cluster) prepareAddition(ca *pki.CA) error {
	if c.options.Addition == nil {
		return nil
	}
	return c.options.Addition.Prepare(c.dir, ca, c.apiServer.url())
}

func (c *Cluster) startAddition(ctx context.Context) error {
	if c.options.Addition == nil {
		return nil
	}
	for _, p := range c.options.Addition.Parts() {
		if _, err := c.launchPart(p, nil); err != nil {
			return err
		}
	}
	return c.options.Addition.WaitReady(ctx, c.Kubeconfig())
}
