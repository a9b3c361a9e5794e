// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

const (
	nodeName   = "demo-node"
	issuerName = "csi-driver-spiffe-ca"
)

// prepareCluster makes what the cluster's administrator makes.
func (d *demo) prepareCluster(ctx context.Context) error {
	version, err := d.cluster.Kubernetes.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("the cluster does not answer: %w", err)
	}
	say("Kubernetes %s at %s", version.GitVersion, d.cluster.REST.Host)
	if d.ca, err = testkit.NewCA("csi-driver-spiffe demo CA"); err != nil {
		return err
	}
	if err := os.WriteFile(d.path("ca.pem"), d.ca.CertificatePEM, 0o600); err != nil {
		return err
	}
	if err := d.cluster.CreateClusterIssuer(ctx, issuerName, d.ca); err != nil {
		return err
	}
	say("ClusterIssuer %s is ready", issuerName)
	d.installation, err = d.cluster.Install(ctx, ".", "", "clusterissuers.cert-manager.io/"+issuerName)
	if err != nil {
		return err
	}
	say("CSIDriver, ServiceAccounts and their rights are applied from manifests/base")
	return nil
}

// writeConfig makes the file from the one in testdata, with paths of this run.
func (d *demo) writeConfig(ctx context.Context) error {
	const source = "testdata/config/demo.yaml"
	original, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	data := strings.NewReplacer(
		"tmpfsPath: /var/run/csi-driver-spiffe-demo", "tmpfsPath: "+d.path("tmpfs"),
		"kubeletRootDir: /var/lib/kubelet", "kubeletRootDir: "+d.path("kubelet"),
		`path: ""`, "path: "+d.path("ca.pem"),
	).Replace(string(original))
	path := d.path("config.yaml")
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		return err
	}
	if d.config, err = config.Load(path); err != nil {
		return err
	}
	say("%s, with the paths of this run, says:", source)
	for line := range strings.Lines(data) {
		if !strings.HasPrefix(line, "#") {
			say("    %s", strings.TrimRight(line, "\n"))
		}
	}
	for _, program := range []string{"csi-driver-spiffe", "csi-driver-spiffe-approver"} {
		output, err := exec.CommandContext(ctx, "bin/"+program, "--validate-config", "--config", path).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s --validate-config: %w\n%s", program, err, output)
		}
		say("%s --validate-config: %s", program, strings.TrimSpace(string(output)))
	}
	return nil
}
