// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const driverName = "spiffe.csi.cert-manager.io"

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// The driver registers itself with the plugin manager of the kubelet, and does so
// again after everything that may happen to the kubelet and its folder.
func TestDriverRegistersWithTheKubelet(t *testing.T) {
	t.Parallel()
	binary := os.Getenv(driverVariable)
	if binary == "" {
		t.Skipf("needs the driver: run `make test`, or set %s to the binary", driverVariable)
	}
	dir, err := os.MkdirTemp("", "reg") // short, for there are sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	registry := filepath.Join(dir, "plugins_registry")
	if err := os.Mkdir(registry, 0o755); err != nil {
		t.Fatal(err)
	}
	handler := &csiHandler{registered: map[string]string{}}
	registered := func(atLeast int) func() bool {
		return func() bool {
			node, times := handler.node(driverName)
			return node == "node-1" && times >= atLeast
		}
	}

	// The driver is there before the kubelet.
	address, stopDriver := startDriver(t, binary, dir)
	eventually(t, "/readyz says that the kubelet does not know the driver", func() bool {
		code, body := get(t, "http://"+address+"/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "the kubelet has not registered the driver yet")
	})
	if code, body := get(t, "http://"+address+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d %s", code, body)
	}
	stopKubelet := startPluginManager(t, registry, handler)
	eventually(t, "registered", registered(1))
	eventually(t, "/readyz does not say so any more", func() bool {
		_, body := get(t, "http://"+address+"/readyz")
		return !strings.Contains(body, "kubelet")
	})

	// The kubelet is started anew.
	stopKubelet()
	startPluginManager(t, registry, handler)
	eventually(t, "registered with the next kubelet", registered(2))

	// The socket is removed under the kubelet's eyes.
	if err := os.Remove(filepath.Join(registry, driverName+"-reg.sock")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "registered after the socket was removed", registered(3))

	// The kubelet refuses, and then does not.
	handler.setRefuse(true)
	if err := os.Remove(filepath.Join(registry, driverName+"-reg.sock")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "/readyz says what the kubelet says", func() bool {
		code, body := get(t, "http://"+address+"/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "node node-1 is refused by this test")
	})
	handler.setRefuse(false)
	eventually(t, "registered when the kubelet tries again", registered(4))

	// The driver is started anew, and then goes for good.
	stopDriver()
	eventually(t, "not registered without a driver", func() bool { node, _ := handler.node(driverName); return node == "" })
	_, stopDriver = startDriver(t, binary, dir)
	eventually(t, "registered when the driver is back", registered(5))
	stopDriver()
	eventually(t, "not registered without a driver", func() bool { node, _ := handler.node(driverName); return node == "" })
}
