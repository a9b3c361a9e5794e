// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package part

import (
	"context"
	"errors"

	"github.com/spf13/pflag"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/supervisor"
)

// apiServerFlags is how kube-apiserver is set up, in the form that its own
// documentation describes. What is not here keeps its default; among the
// defaults that matter are API Priority and Fairness and anonymous access to
// the health endpoints.
func apiServerFlags() []string {
	return []string{
		"--etcd-servers=unix://" + statedir.EtcdSocket,
		"--tls-cert-file=" + statedir.APIServerCert,
		"--tls-private-key-file=" + statedir.APIServerKey,
		"--client-ca-file=" + statedir.CACert,
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-signing-key-file=" + statedir.TokenKey,
		"--service-account-key-file=" + statedir.TokenPublicKey,
		"--service-cluster-ip-range=10.96.0.0/16",
		// The manifests of node plugins ask for privileged containers.
		"--allow-privileged=true",
		// No endpoint of the server is published: there are no pods to use it, and
		// on a machine without a network there is no address that could be.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--profiling=false",
	}
}

// RunAPIServer runs kube-apiserver on the listener inherited from the parent,
// with more flags than a devcluster without nodes needs. It goes round
// app.NewAPIServerCommand, which does not take a listener. It returns only if it
// fails.
func RunAPIServer(more ...string) error {
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	opts := options.NewServerRunOptions()
	flags := pflag.NewFlagSet(APIServer, pflag.ContinueOnError)
	named := opts.Flags()
	for _, set := range named.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(append(apiServerFlags(), more...)); err != nil {
		return err
	}
	listener, err := supervisor.Listener()
	if err != nil {
		return err
	}
	opts.SecureServing.Listener = listener

	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	if err := logsapi.ValidateAndApply(opts.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	ctx := context.Background()
	completed, err := opts.Complete(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(completed.Validate()...); err != nil {
		return err
	}
	return app.Run(ctx, completed)
}
