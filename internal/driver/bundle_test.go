// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
