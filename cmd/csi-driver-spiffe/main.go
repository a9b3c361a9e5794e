// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command csi-driver-spiffe is the CSI driver that runs on each node. It gives
// pods their SPIFFE identity documents as files in a volume; see package
// driver. All of its configuration is in one file, but for what is particular
// to this process: the node, the socket and the kubeconfig.
package main

import (
	"context"
	"flag"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
)

func main() {
	var node, socket string
	program := daemon.Program{
		Name:    "csi-driver-spiffe",
		Purpose: "is the CSI driver that gives the pods of a node their SPIFFE identity documents.",
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&node, "node-name", os.Getenv("NODE_NAME"), "`NAME` of the Kubernetes node (environment: NODE_NAME)")
			flags.StringVar(&socket, "csi-socket", "/csi/csi.sock", "`PATH` of the UNIX socket on which the kubelet calls")
		},
		Run: func(ctx context.Context, env daemon.Env) error { return run(ctx, env, node, socket) },
	}
	os.Exit(program.Main(os.Args[1:], daemon.StandardStreams()))
}

func run(ctx context.Context, env daemon.Env, node, socket string) error {
	c := env.Config.Current().Driver
	rest, err := daemon.RESTConfig(env.Kubeconfig, "csi-driver-spiffe", c.KubeAPI)
	if err != nil {
		return err
	}
	d, err := driver.New(driver.Options{Node: node, Socket: socket, Config: env.Config, REST: rest, Log: env.Log})
	if err != nil {
		return err
	}
	env.Registry.MustRegister(d.Metrics()...)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.Run(ctx) })
	group.Go(func() error { return env.ServeHTTP(ctx, c.HTTPAddress, d.Ready) })
	return group.Wait()
}
