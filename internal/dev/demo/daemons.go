// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

func (d *demo) startDaemons(ctx context.Context) error {
	err := d.start("csi-driver-spiffe-approver", d.installation.Approver, "--identity", "demo", "--namespace", testkit.InstallNamespace)
	if err != nil {
		return err
	}
	say("csi-driver-spiffe-approver runs, as ServiceAccount cert-manager/csi-driver-spiffe-approver")
	err = d.start("csi-driver-spiffe", d.installation.Driver, "--node-name", nodeName, "--csi-socket", d.path("csi.sock"))
	if err != nil {
		return err
	}
	return d.connectKubelet(ctx)
}

// start runs a program of ./bin with the configuration of the demonstration.
func (d *demo) start(name string, access *rest.Config, args ...string) error {
	program, err := testkit.StartProgram("bin", d.dir, name, access, args...)
	if err != nil {
		return err
	}
	d.daemons = append(d.daemons, program)
	return nil
}
