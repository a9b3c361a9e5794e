// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
)

// verboseVariable has TestVerboseDriver be the driver.
const verboseVariable = "CSI_DRIVER_SPIFFE_TEST_VERBOSE"

// verboseDriver is a driver in a process of its own, for what the libraries in it
// log is set for the whole process. They log more than any flag of the real
// program can make them.
type verboseDriver struct {
	w       *world
	address string
	file    string
	stop    func()
}

// TestVerboseDriver is that process. It does what cmd/csi-driver-spiffe does.
func TestVerboseDriver(t *testing.T) {
	arguments := os.Getenv(verboseVariable)
	if arguments == "" {
		t.Skip("is run by TestSecretsAreNowhereElse")
	}
	flags := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(flags)
	if err := flags.Set("v", "10"); err != nil {
		t.Fatal(err)
	}
	var node, socket string
	program := daemon.Program{
		Name: "csi-driver-spiffe",
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&node, "node-name", "", "")
			flags.StringVar(&socket, "csi-socket", "", "")
		},
		Run: func(ctx context.Context, env daemon.Env) error {
			// Even beyond debug, where klog has its levels.
			env.Log = daemon.NewLogger("text", minLevel{}, os.Stderr)
			env.Log.Debug("verbose")
			rest, err := daemon.RESTConfig(env.Kubeconfig, "csi-driver-spiffe", env.Config.Current().Driver.KubeAPI)
			if err != nil {
				return err
			}
			d, err := driver.New(driver.Options{Node: node, Socket: socket, Config: env.Config, REST: rest, Log: env.Log})
			if err != nil {
				return err
			}
			env.Registry.MustRegister(d.Metrics()...)
			group, ctx := errgroup.WithContext(ctx)
			group.Go(func() error { return d.Run(ctx) })
			group.Go(func() error {
				return env.ServeHTTP(ctx, env.Config.Current().Driver.HTTPAddress, daemon.Checks{Healthy: d.Probe, Ready: d.Ready})
			})
			return group.Wait()
		},
	}
	signal.Reset(syscall.SIGTERM)
	if code := program.Main(strings.Split(arguments, "\n"), daemon.StandardStreams()); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// startVerboseDriver starts a driver that logs all that it and its libraries can
// say.
func (w *world) startVerboseDriver() *verboseDriver {
	w.t.Helper()
	d := &verboseDriver{w: w, address: w.freeAddress(), file: filepath.Join(w.dir, "driver.log")}
	w.socket = w.socketPath()
	w.config = w.changedConfig("driver: {httpAddress: '" + d.address + "', publishTimeout: 20s}")
	w.config = w.changedConfig("observability: {logging: {level: debug}}")
	written, err := w.config.YAML()
	w.check(err)
	file := filepath.Join(w.dir, "config.yaml")
	w.check(os.WriteFile(file, written, 0o600))
	kubeconfig := filepath.Join(w.dir, "driver.kubeconfig")
	w.check(testkit.WriteKubeconfig(kubeconfig, w.installation.Driver))
	log, err := os.Create(d.file)
	w.check(err)
	defer log.Close()
	command := exec.Command(os.Args[0], "-test.run=^TestVerboseDriver$", "-test.v")
	command.Env = append(os.Environ(), "GRPC_GO_LOG_SEVERITY_LEVEL=info", "GRPC_GO_LOG_VERBOSITY_LEVEL=99", verboseVariable+"="+strings.Join([]string{
		"--config", file, "--kubeconfig", kubeconfig, "--node-name", w.node, "--csi-socket", w.socket,
	}, "\n"))
	command.Stdout, command.Stderr = log, log
	w.check(command.Start())
	w.t.Cleanup(w.unmountAll)
	d.stop = sync.OnceFunc(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		if err := command.Wait(); err != nil {
			w.t.Errorf("the driver: %v\n%s", err, d.log())
		}
	})
	w.t.Cleanup(d.stop)
	w.kubelet, err = testkit.NewKubelet(w.Cluster, w.kubeletRoot(), w.socket)
	w.check(err)
	w.t.Cleanup(func() { _ = w.kubelet.Close() })
	w.check(w.kubelet.WaitForDriver(w.t.Context()))
	return d
}

// freeAddress is one that nobody listens on at the moment.
func (w *world) freeAddress() string {
	w.t.Helper()
	address, err := testkit.FreeAddress()
	w.check(err)
	return address
}

// log is all that the process has written.
func (d *verboseDriver) log() string {
	data, err := os.ReadFile(d.file)
	d.w.check(err)
	return string(data)
}
