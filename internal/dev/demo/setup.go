// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"

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

// republishEvery is how often the kubelet comes by a running pod, about.
const republishEvery = time.Minute

// keep leaves everything running until Ctrl-C, and says how to go on by hand.
func (d *demo) keep(ctx context.Context) error {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		if kubectl, err = filepath.Abs("bin/kubectl"); err != nil {
			return err
		}
	}
	say("In another terminal:")
	say("    export KUBECONFIG=%s", os.Getenv("KUBECONFIG"))
	say("    %s get certificaterequests -n sandbox", kubectl)
	say("    %s get certificaterequests -n sandbox -o yaml", kubectl)
	if os.Getenv("CSI_DRIVER_SPIFFE_USERNS") != "" {
		say("    nsenter --target %d --user --mount --preserve-credentials   # the mounts are in a namespace of their own", os.Getpid())
	}
	say("    openssl x509 -in %s/tls.crt -noout -text", d.target)
	say("    openssl verify -CAfile %s/ca.crt %s/tls.crt", d.target, d.target)
	say("    watch -n1 openssl x509 -in %s/tls.crt -noout -serial -enddate   # see it being renewed", d.target)
	say("    bin/csi-driver-spiffe volumes --csi-socket %s", d.path("csi.sock"))
	say("    tail -f %s %s", d.path("csi-driver-spiffe.log"), d.path("csi-driver-spiffe-approver.log"))
	say("    $EDITOR %s   # both daemons follow, or say what is wrong", d.path("config.yaml"))
	say("Press Ctrl-C here to have everything taken down.")
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(republishEvery):
			for _, pod := range d.pods() {
				if _, err := d.kubelet.Publish(ctx, pod, testkit.VolumeName); err != nil && ctx.Err() == nil {
					return err
				}
			}
		}
	}
}
