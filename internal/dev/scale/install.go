// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// install makes an issuer, unless there is one, installs the product for it and starts
// the approver.
func (m *simulation) install(ctx context.Context, s sizes) (err error) {
	if m.approverAddress, err = testkit.FreeAddress(); err != nil {
		return err
	}
	if m.signer == "" {
		m.issuerKind, m.issuerGroup, m.signer = "ClusterIssuer", "cert-manager.io", "clusterissuers.cert-manager.io/"
		ca, err := testkit.NewCA(m.name)
		if err == nil {
			err = m.cluster.CreateClusterIssuer(ctx, m.name, ca)
		}
		if err != nil {
			return err
		}
	}
	if err := m.writeConfig(); err != nil {
		return err
	}
	if m.access, err = m.cluster.Install(ctx, s.repository, "-"+m.name, m.signer+m.name); err != nil {
		return err
	}
	// What a driver's clients share is told from that by what they trust; see newNode.
	if err := rest.LoadTLSFiles(m.access.Driver); err != nil {
		return err
	}
	if s.flowSchema {
		if err := m.applyFlowSchema(ctx, s); err != nil {
			return err
		}
	}
	m.approver, err = startSupervised(func() (*testkit.Program, error) {
		return testkit.StartProgram(s.bin, m.dir, "csi-driver-spiffe-approver", m.access.Approver, "--identity", "scale", "--namespace", testkit.InstallNamespace)
	})
	return err
}

// applyFlowSchema is what README.md advises large clusters to do.
func (m *simulation) applyFlowSchema(ctx context.Context, s sizes) error {
	objects, err := testkit.ReadManifests(filepath.Join(s.repository, "manifests", "examples", "flowschema.yaml"))
	if err != nil {
		return err
	}
	for _, object := range objects {
		object.SetName(object.GetName() + "-" + m.name)
		data, err := json.Marshal(object)
		if err != nil {
			return err
		}
		data = bytes.ReplaceAll(data, []byte(`"csi-driver-spiffe-approver"`), fmt.Appendf(nil, "%q", "csi-driver-spiffe-approver-"+m.name))
		if err := json.Unmarshal(data, object); err != nil {
			return err
		}
	}
	return m.cluster.Apply(ctx, "", objects)
}

func (m *simulation) writeConfig() (err error) {
	path := filepath.Join(m.dir, "config.yaml")
	err = os.WriteFile(path, fmt.Appendf(nil, `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: scale.example.org
issuerRef: {name: %s, kind: %s, group: %s}
certificate: {duration: %s, privateKey: {algorithm: ECDSA, size: 256}}
certificateRequests: {historyLimit: %d, watch: %s}
volume: {tmpfsPath: %s}
driver: {httpAddress: "", kubeletRootDir: %s, publishTimeout: 2m}
approver: {httpAddress: "%s", leaderElection: {leaseName: csi-driver-spiffe-approver-%s}}
observability: {logging: {level: warn}}
`, m.name, m.issuerKind, m.issuerGroup, m.duration, m.historyLimit, m.watchScope,
		filepath.Join(m.dir, "tmpfs"), filepath.Join(m.dir, "kubelet"), m.approverAddress, m.name), 0o600)
	if err != nil {
		return err
	}
	m.config, err = config.Load(path)
	return err
}

// setHistoryLimit changes the configuration of all drivers.
func (m *simulation) setHistoryLimit(limit int) error {
	m.historyLimit = limit
	if err := m.writeConfig(); err != nil {
		return err
	}
	for _, n := range m.nodes {
		n.config.Set(n.own(m.config))
	}
	return nil
}
