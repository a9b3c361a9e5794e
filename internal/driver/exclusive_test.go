// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/nodelock"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// sharedNode is what two installations on one node can have in common.
type sharedNode struct {
	t *testing.T
	// dir has the kubelet's folders and those of the drivers.
	dir string
}

// start makes a driver of an installation, which finds its sockets and its tmpfs
// in folders with these names.
func (n sharedNode) start(namespace, driverName, plugin, tmpfs string) error {
	n.t.Helper()
	for _, folder := range []string{"plugins_registry", plugin} {
		if err := os.MkdirAll(filepath.Join(n.dir, folder), 0o700); err != nil {
			n.t.Fatal(err)
		}
	}
	c, err := config.Parse("config.yaml", []byte("apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1\nkind: SPIFFEConfiguration\n"+
		"trustDomain: my.trust.domain\nissuerRef: {name: ca}\ndriver: {name: "+driverName+"}\nvolume: {tmpfsPath: \""+filepath.Join(n.dir, tmpfs)+"\"}\n"))
	if err != nil {
		n.t.Fatal(err)
	}
	d, err := driver.New(driver.Options{
		Node: "worker-1", Socket: filepath.Join(n.dir, plugin, "csi.sock"), Config: config.NewHolder(c),
		REST: &rest.Config{Host: "http://127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler),
		Registration: &driver.Registration{Folder: filepath.Join(n.dir, "plugins_registry"), Endpoint: "/csi.sock"},
		Pod:          types.NamespacedName{Namespace: namespace, Name: "csi-driver-spiffe-x7k2p"},
		Volume:       []volume.Setting{volume.WithoutMounts()},
	})
	n.t.Cleanup(func() { runtime.KeepAlive(d) }) // its locks last as long as it does
	return err
}

// What of the node belongs to one installation is refused to another, in words that
// name both, and an update of the same installation finds it free.
func TestADriverRefusesWhatAnotherInstallationHas(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ namespace, driverName, plugin, tmpfs, want string }{
		"the driver's name":             {"spiffe-b", "spiffe.csi.cert-manager.io", "b", "b-tmpfs", `driver.name "spiffe.csi.cert-manager.io" is in use: `},
		"the socket":                    {"spiffe-b", "b.spiffe.example.org", "a", "b-tmpfs", "--csi-socket "},
		"the tmpfs":                     {"spiffe-b", "b.spiffe.example.org", "b", "a-tmpfs", "volume.tmpfsPath "},
		"nothing":                       {"spiffe-b", "b.spiffe.example.org", "b", "b-tmpfs", ""},
		"the tmpfs, from one namespace": {"cert-manager", "b.spiffe.example.org", "b", "a-tmpfs", "volume.tmpfsPath "},
		"all, and is the same":          {"cert-manager", "spiffe.csi.cert-manager.io", "a", "a-tmpfs", ""},
		"all, and is not a pod":         {"", "spiffe.csi.cert-manager.io", "a", "a-tmpfs", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := sharedNode{t, t.TempDir()}
			if err := n.start("cert-manager", "spiffe.csi.cert-manager.io", "a", "a-tmpfs"); err != nil {
				t.Fatal(err)
			}
			err := n.start(row.namespace, row.driverName, row.plugin, row.tmpfs)
			switch {
			case row.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case row.want == "":
			case !errors.Is(err, nodelock.ErrHeld) || !strings.HasPrefix(err.Error(), row.want) ||
				!strings.Contains(err.Error(), "pod cert-manager/csi-driver-spiffe-x7k2p") || !strings.Contains(err.Error(), "give this installation a"):
				t.Errorf("got %v", err)
			}
		})
	}
}
