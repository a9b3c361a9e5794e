// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// settings are what scenarios change of the configuration.
type settings struct {
	trustDomain   string
	reissueWindow time.Duration
	// files are volume.files, and bundle is trustBundle.path.
	files, bundle string
	// http is where the driver serves its metrics.
	http string
	// unelected has the approver decide without being elected: on a machine that is
	// overloaded on purpose, it could lose the Lease and end.
	unelected bool
}

func ordinary() (settings, error) {
	http, err := testkit.FreeAddress()
	return settings{trustDomain: "bench.example.org", reissueWindow: time.Minute, files: "{}", http: http}, err
}

// configure writes the configuration file, which both daemons follow.
func (b *bench) configure(s settings) error {
	path := b.path("config.yaml")
	err := os.WriteFile(path, fmt.Appendf(nil, `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: %s
issuerRef: {name: %s}
certificate: {privateKey: {%s}}
rollout: {reissueWindow: %s}
volume: {tmpfsPath: %s, files: %s}
trustBundle: {path: %q}
driver: {httpAddress: %q, kubeletRootDir: %s}
approver: {httpAddress: "", leaderElection: {enabled: %t, leaseName: csi-driver-spiffe-approver-%s}}
`, s.trustDomain, b.name, b.key, s.reissueWindow, b.path("tmpfs"), s.files, s.bundle, s.http, b.path("kubelet"), !s.unelected, b.name), 0o600)
	if err != nil {
		return err
	}
	b.settings = s
	if b.config, err = config.Load(path); err != nil {
		return err
	}
	if b.floor != nil {
		b.floor.follow(b.config.Policy())
	}
	return nil
}
