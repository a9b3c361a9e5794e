// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command csi-driver-spiffe is the CSI driver that runs on each node. It gives
// pods their X.509-SVIDs as files in a volume; see package
// driver. All of its configuration is in one file, but for what is particular
// to this process: the node, the socket and the kubeconfig.
package main

import (
	"context"
	"flag"
	"os"
	"runtime/debug"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
)

func main() {
	var o options
	program := daemon.Program{
		Name:    "csi-driver-spiffe",
		Purpose: "is the CSI driver that gives the pods of a node their X.509-SVIDs.",
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&o.node, "node-name", os.Getenv("NODE_NAME"), "`NAME` of the Kubernetes node (environment: NODE_NAME)")
			flags.StringVar(&o.socket, "csi-socket", listing.DefaultSocket(), "`PATH` of the UNIX socket on which the kubelet calls (environment: CSI_SOCKET)")
			flags.StringVar(&o.endpoint, "kubelet-registration-path", "",
				"`PATH` of the same socket as the kubelet sees it, for the driver to register itself; without it, node-driver-registrar must do that")
			flags.StringVar(&o.registry, "plugin-registration-path", "/registration", "`FOLDER` of the kubelet for plugin registration sockets, plugins_registry, as the driver sees it")
			flags.StringVar(&o.object, "csidriver-object", "",
				"`NAME` of the CSIDriver object that was installed for this program, which ends if driver.name is another; without it, that is not checked")
		},
		Commands: []daemon.Command{{
			Name: "volumes", Purpose: "list the volumes of this node (see volumes --help)", Run: listing.Command,
		}},
		Run: func(ctx context.Context, env daemon.Env) error { return run(ctx, env, o) },
	}
	os.Exit(program.Main(os.Args[1:], daemon.StandardStreams()))
}

// options are the flags of the driver alone.
type options struct{ node, socket, endpoint, registry, object string }

// registration is nil if the driver is not to register itself.
func (o options) registration() *driver.Registration {
	if o.endpoint == "" {
		return nil
	}
	return &driver.Registration{Folder: o.registry, Endpoint: o.endpoint}
}

func run(ctx context.Context, env daemon.Env, o options) error {
	// There is one on every node, and it is idle nearly always: memory counts for
	// more than the time to collect it.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	if err := driver.CheckName(env.Config.Current(), o.object); err != nil {
		return err
	}
	c := env.Config.Current().Driver
	rest, err := daemon.RESTConfig(env.Kubeconfig, "csi-driver-spiffe", c.KubeAPI)
	if err != nil {
		return err
	}
	d, err := driver.New(driver.Options{
		Node: o.node, Socket: o.socket, Registration: o.registration(), Config: env.Config, REST: rest, Log: env.Log, Event: env.Event,
		Pod: types.NamespacedName{Namespace: os.Getenv("POD_NAMESPACE"), Name: os.Getenv("POD_NAME")},
	})
	if err != nil {
		return err
	}
	env.Registry.MustRegister(d.Metrics()...)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.Run(ctx) })
	group.Go(func() error {
		return env.ServeHTTP(ctx, c.HTTPAddress, daemon.Checks{Healthy: d.Probe, Ready: d.Ready, Detail: d.BundleDetail})
	})
	group.Go(func() error { return env.ServeProfiles(ctx, c.ProfilingAddress) })
	return group.Wait()
}
