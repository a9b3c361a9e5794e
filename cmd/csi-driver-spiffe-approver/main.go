// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command csi-driver-spiffe-approver decides the CertificateRequests of the
// cluster that name the configured issuer: it approves those that are exactly
// what the driver asks for, and denies all others; see package approver. It
// obeys the same configuration file as the driver.
package main

import (
	"context"
	"flag"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/approver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
)

func main() {
	var identity, namespace string
	hostname, _ := os.Hostname()
	program := daemon.Program{
		Name:    "csi-driver-spiffe-approver",
		Purpose: "approves the requests for X.509-SVIDs that are what they should be, and denies the others.",
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&identity, "identity", hostname, "`NAME` of this replica in the leader election")
			flags.StringVar(&namespace, "namespace", daemon.Namespace(), "`NAMESPACE` of the Lease of the leader election (environment: POD_NAMESPACE)")
		},
		Run: func(ctx context.Context, env daemon.Env) error { return run(ctx, env, identity, namespace) },
	}
	os.Exit(program.Main(os.Args[1:], daemon.StandardStreams()))
}

func run(ctx context.Context, env daemon.Env, identity, namespace string) error {
	c := env.Config.Current().Approver
	rest, err := daemon.RESTConfig(env.Kubeconfig, "csi-driver-spiffe-approver", c.KubeAPI)
	if err != nil {
		return err
	}
	a, err := approver.New(approver.Options{Identity: identity, Namespace: namespace, Config: env.Config, REST: rest, Log: env.Log})
	if err != nil {
		return err
	}
	env.Registry.MustRegister(a.Metrics()...)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.Run(ctx) })
	group.Go(func() error {
		return env.ServeHTTP(ctx, c.HTTPAddress, daemon.Checks{Healthy: a.Healthy, Ready: a.Ready})
	})
	group.Go(func() error { return env.ServeProfiles(ctx, c.ProfilingAddress) })
	return group.Wait()
}
