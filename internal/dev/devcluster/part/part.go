// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package part holds the programs that a devcluster consists of.
//
// Each is the real one, from its Go module, run in a child process of its own:
// they share flag sets, metrics registries, feature gates and signal handlers,
// and some of them panic when two meet in one process. Each runs with the state
// folder as its working directory (see package statedir) and until it is killed.
package part

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Names of the parts.
const (
	Etcd        = "etcd"
	APIServer   = "kube-apiserver"
	CertManager = "cert-manager"
	Webhook     = "cert-manager-webhook"
)

// Run runs the named part in this process. It returns only if the part fails.
func Run(name string) error {
	parts := map[string]func() error{
		Etcd:        runEtcd,
		APIServer:   func() error { return RunAPIServer() },
		CertManager: runCertManager,
		Webhook:     runWebhook,
	}
	run, ok := parts[name]
	if !ok {
		names := strings.Join(slices.Sorted(maps.Keys(parts)), ", ")
		return fmt.Errorf("no such part: %q; there are %s", name, names)
	}
	return run()
}
