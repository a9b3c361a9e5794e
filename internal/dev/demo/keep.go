// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

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
