// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"errors"
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

// Program is one of the project's daemons, running as a process of its own.
type Program struct {
	// Name is the name of the binary.
	Name string
	// Log is the file that it logs to.
	Log string

	command *exec.Cmd
	exited  chan error
}

// StartProgram runs a program of the folder bin, with the configuration file
// dir/config.yaml and a kubeconfig of its own in dir, where its log goes too.
func StartProgram(bin, dir, name string, access *rest.Config, args ...string) (*Program, error) {
	return StartProgramWith(nil, bin, dir, name, access, args...)
}

// StartProgramWith is StartProgram with more in the environment (KEY=VALUE). One
// that is started again goes on with its log.
func StartProgramWith(environment []string, bin, dir, name string, access *rest.Config, args ...string) (*Program, error) {
	kubeconfig := filepath.Join(dir, name+".kubeconfig")
	if err := WriteKubeconfig(kubeconfig, access); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args = append([]string{"--config", filepath.Join(dir, "config.yaml"), "--kubeconfig", kubeconfig}, args...)
	command := exec.Command(filepath.Join(bin, name), args...)
	command.Stdout, command.Stderr = log, log
	command.Env = append(os.Environ(), environment...)
	// A process group of its own: Ctrl-C is for whoever started it, who then
	// stops the programs in order.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s (is it built?): %w", name, err)
	}
	program := &Program{name, log.Name(), command, make(chan error, 1)}
	go func() { program.exited <- command.Wait() }()
	return program, nil
}

// Stop ends the program as Kubernetes does, and returns how it ended.
func (p *Program) Stop() error {
	// If it has ended already, Wait tells.
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.exited:
		p.exited <- err // for Kill, which a cleanup may call
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		return nil
	case <-time.After(20 * time.Second):
		return fmt.Errorf("%s did not stop within 20 s (%w)", p.Name, p.command.Process.Kill())
	}
}

// Kill ends the program with SIGKILL, unless it has ended already.
func (p *Program) Kill() error {
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s: %w", p.Name, err)
	}
	p.exited <- <-p.exited // that it was killed is no news
	return nil
}

// WaitForEnd reports whether the program ends by itself within a time.
func (p *Program) WaitForEnd(within time.Duration) bool {
	select {
	case err := <-p.exited:
		p.exited <- err
		return true
	case <-time.After(within):
		return false
	}
}

// PID is the program's process ID.
func (p *Program) PID() int { return p.command.Process.Pid }

// WriteKubeconfig writes how somebody reaches the cluster, by a token or by a
// client certificate.
func WriteKubeconfig(path string, access *rest.Config) error {
	const name = "default"
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server: access.Host, CertificateAuthorityData: access.CAData, CertificateAuthority: access.CAFile,
		}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{name: {
			Token: access.BearerToken, ClientCertificateData: access.CertData, ClientKeyData: access.KeyData,
		}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}, path)
}
