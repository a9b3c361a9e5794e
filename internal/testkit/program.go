// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	kubeconfig := filepath.Join(dir, name+".kubeconfig")
	if err := WriteKubeconfig(kubeconfig, access); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args = append([]string{"--config", filepath.Join(dir, "config.yaml"), "--kubeconfig", kubeconfig}, args...)
	command := exec.Command(filepath.Join(bin, name), args...)
	command.Stdout, command.Stderr = log, log
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
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		return nil
	case <-time.After(20 * time.Second):
		return fmt.Errorf("%s did not stop within 20 s (%w)", p.Name, p.command.Process.Kill())
	}
}

// Kill ends the program as an out-of-memory kill does, and returns when it has
// ended.
func (p *Program) Kill() error {
	err := p.command.Process.Kill()
	p.exited <- <-p.exited // for Stop, which finds it ended
	return err
}

// Memory is what a process has of it, in bytes.
type Memory struct {
	// Resident is what it has now, and Peak the most that it ever had.
	Resident, Peak uint64
}

// Memory reads from the kernel what the program has (proc_pid_status(5)).
func (p *Program) Memory() (Memory, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for line := range strings.Lines(string(data)) {
		var kib uint64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			m.Resident = kib << 10
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			m.Peak = kib << 10
		}
	}
	if m.Resident == 0 || m.Peak == 0 {
		return Memory{}, fmt.Errorf("/proc/%d/status tells no memory", p.command.Process.Pid)
	}
	return m, nil
}

// WriteKubeconfig writes how a ServiceAccount reaches the cluster.
func WriteKubeconfig(path string, access *rest.Config) error {
	const name = "default"
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server: access.Host, CertificateAuthorityData: access.CAData, CertificateAuthority: access.CAFile,
		}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: access.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}, path)
}
