// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
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

// FreeAddress returns a TCP address of this machine, HOST:PORT, that nobody listens
// on at the moment: another process may take it, and whoever wants to listen on it
// then says so.
func FreeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free TCP port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// Usage is what a process has used so far (proc(5)).
type Usage struct {
	// CPU is the time for which its threads ran, those that have ended left out.
	CPU time.Duration
	// Reads are calls of read(2) and its like, on whatever is open.
	Reads int64
	// Resident is the memory that it has, and Peak the most that it ever had, in
	// bytes.
	Resident, Peak int64
}

// ReadUsage returns the usage of a process. The error is [os.ErrNotExist] if there
// is none.
func ReadUsage(pid int) (Usage, error) {
	var u Usage
	dir := fmt.Sprintf("/proc/%d", pid)
	// To the nanosecond, where stat counts hundredths of a second.
	tasks, err := filepath.Glob(dir + "/task/*/schedstat")
	if err != nil {
		return Usage{}, err
	}
	for _, task := range tasks {
		var running int64
		data, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		if _, err := fmt.Sscan(string(data), &running); err != nil {
			return Usage{}, err
		}
		u.CPU += time.Duration(running)
	}
	if u.Reads, err = ProcNumber(dir+"/io", "syscr:"); err != nil {
		return Usage{}, err
	}
	if u.Resident, err = ProcNumber(dir+"/status", "VmRSS:"); err != nil {
		return Usage{}, err
	}
	if u.Peak, err = ProcNumber(dir+"/status", "VmHWM:"); err != nil {
		return Usage{}, err
	}
	u.Resident, u.Peak = u.Resident<<10, u.Peak<<10
	return u, nil
}

// ProcNumber reads one number of a file of lines that begin with a name.
func ProcNumber(path, name string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			var value int64
			_, err := fmt.Sscan(rest, &value)
			return value, err
		}
	}
	return 0, fmt.Errorf("%s: no line %s", path, name)
}

// Scrape returns the metrics that a daemon serves on an address, by name.
func Scrape(ctx context.Context, address string) (map[string]*dto.MetricFamily, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("metrics on %s: %w", address, err)
	}
	defer response.Body.Close()
	return ParseMetrics(response.Body)
}

// ParseMetrics reads metrics in the text format of Prometheus.
func ParseMetrics(text io.Reader) (map[string]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(text)
}

// Sleep returns after a time, or earlier with the cause if ctx ends.
func Sleep(ctx context.Context, duration time.Duration) error {
	select {
	case <-time.After(duration):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
