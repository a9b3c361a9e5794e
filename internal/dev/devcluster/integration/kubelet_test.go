// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/client-go/tools/record"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	"k8s.io/kubernetes/pkg/kubelet/pluginmanager"
)

// driverVariable names the binary csi-driver-spiffe. Its registration is tested
// in this module because Kubernetes is in it, and with that the kubelet's own
// code.
const driverVariable = "CSI_DRIVER_SPIFFE_BINARY"

// csiHandler is what the kubelet's plugin manager calls for CSI drivers. It
// stands in for the one of the kubelet's CSI volume plugin
// (kubernetes/pkg/volume/csi, RegistrationHandler), which needs a whole kubelet
// around it, and does the same: it calls NodeGetInfo on the driver's socket.
type csiHandler struct {
	mu         sync.Mutex
	refuse     bool
	registered map[string]string
	times      int
}

func (h *csiHandler) ValidatePlugin(name, endpoint string, versions []string) error {
	if len(versions) != 1 || versions[0] != "1.0.0" || !filepath.IsAbs(endpoint) {
		return fmt.Errorf("%s at %s has versions %v", name, endpoint, versions)
	}
	return nil
}

func (h *csiHandler) RegisterPlugin(name, endpoint string, _ []string, _ *time.Duration) error {
	conn, err := grpc.NewClient("unix://"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	info, err := csi.NewNodeClient(conn).NodeGetInfo(context.Background(), &csi.NodeGetInfoRequest{})
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse {
		return fmt.Errorf("node %s is refused by this test", info.GetNodeId())
	}
	h.registered[name] = info.GetNodeId()
	h.times++
	return nil
}

func (h *csiHandler) DeRegisterPlugin(name, _ string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.registered, name)
}

func (h *csiHandler) setRefuse(refuse bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuse = refuse
}

// node is the ID of the node for which a driver is registered, or "", and how
// often one was.
func (h *csiHandler) node(name string) (id string, times int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.registered[name], h.times
}

// startPluginManager starts the part of the kubelet that finds drivers.
func startPluginManager(t *testing.T, registry string, handler *csiHandler) (stop func()) {
	t.Helper()
	manager := pluginmanager.NewPluginManager(registry, &record.FakeRecorder{})
	manager.AddHandler(registerapi.CSIPlugin, handler)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); manager.Run(ctx, nil, ctx.Done()) }()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return stop
}

// startDriver starts the driver, without an API server, and returns its HTTP
// address.
func startDriver(t *testing.T, binary, dir string) (address string, stop func()) {
	t.Helper()
	address = freeAddress(t)
	files := map[string]string{
		"config.yaml": fmt.Sprintf(`apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: my.trust.domain
issuerRef: {name: ca}
volume: {tmpfsPath: %[1]s/tmpfs}
driver: {httpAddress: %[2]q, kubeletRootDir: %[1]s}
`, dir, address),
		"kubeconfig": `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: x, context: {cluster: c}}]
current-context: x
`,
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("../../tools/as-root.sh", binary, "--config", dir+"/config.yaml", "--kubeconfig", dir+"/kubeconfig",
		"--node-name", "node-1", "--csi-socket", dir+"/csi.sock", "--kubelet-registration-path", dir+"/csi.sock",
		"--plugin-registration-path", dir+"/plugins_registry")
	command.Stdout, command.Stderr = t.Output(), t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		if err := command.Wait(); err != nil {
			t.Errorf("the driver: %v", err)
		}
		_ = syscall.Unmount(dir+"/tmpfs", syscall.MNT_DETACH)
	})
	t.Cleanup(stop)
	return address, stop
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
