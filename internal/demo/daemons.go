// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// daemon is one of the programs of the project, as a process.
type daemon struct {
	name    string
	log     string
	command *exec.Cmd
	exited  chan error
}

// start runs a program of ./bin with the configuration file and a kubeconfig
// of its own.
func (d *demo) start(name string, access *rest.Config, args ...string) error {
	kubeconfig := d.path(name + ".kubeconfig")
	if err := writeKubeconfig(kubeconfig, access); err != nil {
		return err
	}
	log, err := os.Create(d.path(name + ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(filepath.Join("bin", name), append([]string{"--config", d.path("config.yaml"), "--kubeconfig", kubeconfig}, args...)...)
	command.Stdout, command.Stderr = log, log
	// Its own process group: Ctrl-C is for the demonstration, which then stops
	// the daemons in order.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting %s (is it built?): %w", name, err)
	}
	started := &daemon{name, log.Name(), command, make(chan error, 1)}
	go func() { started.exited <- command.Wait() }()
	d.daemons = append(d.daemons, started)
	return nil
}

// stop ends the daemon as Kubernetes does.
func (d *daemon) stop() error {
	_ = d.command.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-d.exited:
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		return nil
	case <-time.After(20 * time.Second):
		return fmt.Errorf("%s did not stop: %w", d.name, d.command.Process.Kill())
	}
}

func (d *demo) startDaemons(ctx context.Context) error {
	if err := d.start("csi-driver-spiffe-approver", d.installation.Approver, "--identity", "demo", "--namespace", "cert-manager"); err != nil {
		return err
	}
	say("csi-driver-spiffe-approver runs, as ServiceAccount cert-manager/csi-driver-spiffe-approver")
	if err := d.start("csi-driver-spiffe", d.installation.Driver, "--node-name", nodeName, "--csi-socket", d.path("csi.sock")); err != nil {
		return err
	}
	return d.connectKubelet(ctx)
}

// writeKubeconfig writes how a ServiceAccount reaches the cluster.
func writeKubeconfig(path string, access *rest.Config) error {
	const name = "demo"
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server: access.Host, CertificateAuthorityData: access.CAData, CertificateAuthority: access.CAFile,
		}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: access.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}, path)
}
