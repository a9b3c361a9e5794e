// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/pki"
)

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func leaf(t *testing.T, pair pki.KeyPair) *x509.Certificate {
	t.Helper()
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM) // also checks that they belong together
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

func TestCertificatesVerify(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	server, err := ca.Server("api", []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	client, err := ca.Client("alice", "system:masters", "others")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.CertPEM())
	strangers := x509.NewCertPool()
	strangers.AppendCertsFromPEM(newCA(t).CertPEM())

	tests := []struct {
		name   string
		pair   pki.KeyPair
		roots  *x509.CertPool
		host   string
		usage  x509.ExtKeyUsage
		wantOK bool
	}{
		{"server by name", server, roots, "localhost", x509.ExtKeyUsageServerAuth, true},
		{"server by address", server, roots, "127.0.0.1", x509.ExtKeyUsageServerAuth, true},
		{"server by another name", server, roots, "example.org", x509.ExtKeyUsageServerAuth, false},
		{"server as client", server, roots, "", x509.ExtKeyUsageClientAuth, false},
		{"client", client, roots, "", x509.ExtKeyUsageClientAuth, true},
		{"client as server", client, roots, "", x509.ExtKeyUsageServerAuth, false},
		{"client of another authority", client, strangers, "", x509.ExtKeyUsageClientAuth, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := leaf(t, test.pair).Verify(x509.VerifyOptions{
				Roots: test.roots, DNSName: test.host, KeyUsages: []x509.ExtKeyUsage{test.usage},
			})
			if (err == nil) != test.wantOK {
				t.Errorf("Verify: %v, want success: %v", err, test.wantOK)
			}
		})
	}
}

func TestClientNamesUserAndGroups(t *testing.T) {
	t.Parallel()
	pair, err := newCA(t).Client("alice", "b", "a")
	if err != nil {
		t.Fatal(err)
	}
	subject := leaf(t, pair).Subject
	slices.Sort(subject.Organization)
	if subject.CommonName != "alice" || !slices.Equal(subject.Organization, []string{"a", "b"}) {
		t.Errorf("subject is %v", subject)
	}
}

func TestSerialNumbersDiffer(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	first, err := ca.Client("a")
	if err != nil {
		t.Fatal(err)
	}
	second, err := ca.Client("a")
	if err != nil {
		t.Fatal(err)
	}
	if leaf(t, first).SerialNumber.Cmp(leaf(t, second).SerialNumber) == 0 {
		t.Error("two certificates have one serial number")
	}
}

func TestWriteFilesHidesThem(t *testing.T) {
	t.Parallel()
	pair, err := newCA(t).Client("a")
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(t.TempDir(), "crt"), filepath.Join(t.TempDir(), "key")
	if err := pair.WriteFiles(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(keyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	if err := pair.WriteFiles(filepath.Join(t.TempDir(), "none", "crt"), keyFile); err == nil {
		t.Error("writing to a folder that does not exist succeeded")
	}
}

func TestSigningKeysBelongTogether(t *testing.T) {
	t.Parallel()
	privatePEM, publicPEM, err := pki.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	privateBlock, _ := pem.Decode(privatePEM)
	private, err := x509.ParsePKCS8PrivateKey(privateBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	publicBlock, _ := pem.Decode(publicPEM)
	public, err := x509.ParsePKIXPublicKey(publicBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := private.(*ecdsa.PrivateKey); !ok || !key.PublicKey.Equal(public) {
		t.Error("the public key is not that of the private key")
	}
}
