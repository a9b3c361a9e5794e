// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/filewatch"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// newRoot returns a certificate in PEM that is valid until a moment.
func newRoot(t *testing.T, until time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestMetricsOfTheTrustBundle(t *testing.T) {
	t.Parallel()
	d := newTestDriver(t, nil)
	registry := prometheus.NewRegistry()
	registry.MustRegister(d.Metrics()...)
	names := []string{
		"csi_driver_spiffe_trust_bundle_last_reload_successful", "csi_driver_spiffe_trust_bundle_certificates",
		"csi_driver_spiffe_trust_bundle_earliest_expiry_timestamp_seconds", "csi_driver_spiffe_trust_bundle_info",
	}
	count := func(want int) {
		t.Helper()
		if got, err := testutil.GatherAndCount(registry, names...); err != nil || got != want {
			t.Errorf("%d metrics, %v, want %d", got, err, want)
		}
	}
	count(0)
	path := filepath.Join(t.TempDir(), "ca.pem")
	c := testConfig(t, "trustBundle: {path: "+path+"}")
	d.config.Set(c)
	d.bundleSeen(d.bundles.Open(path))
	count(2) // that it failed, and no certificates
	until := time.Unix(1_900_000_000, 0)
	root := newRoot(t, until)
	check(t, os.WriteFile(path, root, 0o600))
	d.bundleSeen(d.bundles.Take(path, filewatch.Read(path, trustbundle.MaxSize)))
	want := fmt.Sprintf(`# HELP csi_driver_spiffe_trust_bundle_certificates Certificates in the trust bundle that is in force.
# TYPE csi_driver_spiffe_trust_bundle_certificates gauge
csi_driver_spiffe_trust_bundle_certificates 1
# HELP csi_driver_spiffe_trust_bundle_earliest_expiry_timestamp_seconds When the first certificate of the trust bundle expires, or has, in seconds since 1970.
# TYPE csi_driver_spiffe_trust_bundle_earliest_expiry_timestamp_seconds gauge
csi_driver_spiffe_trust_bundle_earliest_expiry_timestamp_seconds %g
# HELP csi_driver_spiffe_trust_bundle_info Always 1; the label tells which trust bundle is in force.
# TYPE csi_driver_spiffe_trust_bundle_info gauge
csi_driver_spiffe_trust_bundle_info{hash="%s"} 1
# HELP csi_driver_spiffe_trust_bundle_last_reload_successful Whether what the trust bundle's file has now is in force (1), or was refused (0).
# TYPE csi_driver_spiffe_trust_bundle_last_reload_successful gauge
csi_driver_spiffe_trust_bundle_last_reload_successful 1
`, float64(until.Unix()), trustbundle.HashOf(root))
	check(t, testutil.GatherAndCompare(registry, strings.NewReader(want), names...))
}

// A volume is behind if its bundle, its files or its password are others, and not
// if there is no bundle that it could be given.
func TestIsBehind(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ca.pem")
	root := newRoot(t, time.Now().Add(time.Hour))
	check(t, os.WriteFile(path, root, 0o600))
	hash := trustbundle.HashOf(root)
	three := volume.Files{Certificate: "tls.crt", PrivateKey: "tls.key", TrustBundle: "ca.crt"}
	renamed, store := three, three
	renamed.Certificate = "svid.pem"
	store.JKS.Keystore = "a.jks"
	const withPath, withStore = "trustBundle: {path: PATH}", "volume: {files: {jks: {keystore: b.jks}}}"
	for name, row := range map[string]struct {
		config []string
		file   string
		live   volume.Metadata
		want   bool
	}{
		"nothing is asked for":         {nil, "", volume.Metadata{Files: three}, false},
		"of other names":               {nil, "", volume.Metadata{Files: renamed}, false},
		"a bundle too many":            {nil, "", volume.Metadata{Files: three, TrustBundle: hash}, true},
		"no bundle":                    {[]string{withPath}, path, volume.Metadata{Files: three}, true},
		"the bundle":                   {[]string{withPath}, path, volume.Metadata{Files: three, TrustBundle: hash}, false},
		"another bundle":               {[]string{withPath}, path, volume.Metadata{Files: three, TrustBundle: "another"}, true},
		"the last one, the file gone":  {[]string{withPath}, path + "x", volume.Metadata{Files: three, TrustBundle: hash}, false},
		"a form too many":              {nil, "", volume.Metadata{Files: store}, true},
		"a form is missing":            {[]string{withStore}, "", volume.Metadata{Files: three}, true},
		"a store of another password":  {[]string{withStore}, "", volume.Metadata{Files: store, StorePassword: "another"}, true},
		"a store that is as asked for": {[]string{withStore}, "", volume.Metadata{Files: store, StorePassword: trustbundle.HashOf([]byte("changeit"))}, false},
	} {
		d := newTestDriver(t, nil)
		lines := strings.ReplaceAll(strings.Join(row.config, "\n"), "PATH", path)
		c := testConfig(t, lines)
		d.bundles.Open(row.file)
		if got := d.isBehind(c, &row.live); got != row.want {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
}
