// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// checkQueuedChains checks what is to be checked by now.
func checkQueuedChains(d *Driver) {
	for d.chains.queue.Len() > 0 {
		id, _ := d.chains.queue.Get()
		d.checkChain(id)
		d.chains.queue.Done(id)
	}
}

func requireUnverified(t *testing.T, d *Driver, want string) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(d.Metrics()...)
	check(t, testutil.GatherAndCompare(registry, strings.NewReader(`# HELP csi_driver_spiffe_volumes_unverified Live volumes whose certificate chain the trust bundle in force does not verify.
# TYPE csi_driver_spiffe_volumes_unverified gauge
csi_driver_spiffe_volumes_unverified `+want+"\n"), "csi_driver_spiffe_volumes_unverified"))
}

// A chain that the trust bundle does not verify is warned of once for each bundle, and
// counted for as long as it is so.
func TestChainThatTheBundleDoesNotVerify(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	files := svidFiles(t, time.Now(), time.Now().Add(time.Hour))
	check(t, n.store.Write(testVolume, files, n.metadata()))
	check(t, n.store.Mount(testVolume, n.target))
	path := filepath.Join(n.dir, "ca.pem")
	check(t, os.WriteFile(path, newRoot(t, time.Now().Add(time.Hour)), 0o600))
	d, out, err := n.start(t, "trustBundle: {path: "+path+"}")
	check(t, err)
	const warning, again = "the trust bundle in force does not verify the certificate chain of a volume", "verifies the certificate chain of a volume again"
	for _, step := range []struct {
		name           string
		bundle         []byte // nil: as before
		unverified     string
		warnings, good int
	}{
		{"at the start", nil, "1", 1, 0},
		{"another bundle, of no more use", newRoot(t, time.Now().Add(time.Hour)), "1", 2, 0},
		{"checked again", nil, "1", 2, 0},
		{"the right one", files["tls.crt"], "0", 2, 1},
	} {
		if step.bundle != nil {
			check(t, os.WriteFile(path, step.bundle, 0o600))
			d.bundleSeen(d.bundles.Open(path))
		}
		d.chains.add(testVolume)
		checkQueuedChains(d)
		requireUnverified(t, d, step.unverified)
		if log := out.String(); strings.Count(log, warning) != step.warnings || strings.Count(log, again) != step.good {
			t.Errorf("%s: the log says %s", step.name, log)
		}
	}
	d.bundleSeen(d.bundles.Open("")) // none is asked for any more
	checkQueuedChains(d)
	requireUnverified(t, d, "0")
}
