// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// What an issuer may make of a request. cert-manager's own do none of this, and
// the clock of the cluster cannot be set: this test signs, as an external issuer
// does.
func TestTroubleshootingOfWhatIsSigned(t *testing.T) {
	w := newWorld(t, withBundle)
	w.setIssuer(silentIssuer())
	w.publishSignedAs("short", func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(20 * time.Minute) })
	troubleshooting.Row("the issuer has signed for less than certificate.duration").Seen(t, w.log.String())

	w.check(w.publishSignedAs("long", func(c *x509.Certificate) { c.NotAfter = c.NotAfter.AddDate(10, 0, 0) }))
	troubleshooting.Row("the issuer has signed for more than certificate.duration").Seen(t, w.log.String())
	if due := w.list()["long"].NextRenewal; time.Until(due) > w.config.Certificate.Duration {
		t.Errorf("the renewal is due at %s, after what was requested", due)
	}

	trusted := w.ca
	w.ca = w.newCA("not in the bundle")
	w.check(w.publishSignedAs("stranger", func(*x509.Certificate) {}))
	row := troubleshooting.Row("the trust bundle in force does not verify the certificate chain of a volume")
	w.eventually("the chain is checked", func() bool { return strings.Contains(w.log.String(), "does not verify") })
	row.Seen(t, w.log.String())
	w.ca = trusted

	err := w.publishSignedAs("nameless", func(c *x509.Certificate) { c.URIs = nil })
	troubleshooting.Row("issuer returned a certificate that is not the SVID that was asked for").Seen(t, fmt.Sprint(err))
}

// publishSignedAs publishes a volume for a new pod, with a certificate that was
// changed before it was signed.
func (w *world) publishSignedAs(name string, change func(*x509.Certificate)) error {
	w.t.Helper()
	return w.publishAnswered(w.pod(name), func(spec cmapi.CertificateRequestSpec) []byte { return w.signed(spec, change) })
}

// signed is what an issuer would make of a request, as changed.
func (w *world) signed(spec cmapi.CertificateRequestSpec, change func(*x509.Certificate)) []byte {
	w.t.Helper()
	block, _ := pem.Decode(spec.Request)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	w.check(err)
	ca, err := tls.X509KeyPair(w.ca.CertificatePEM, w.ca.KeyPEM)
	w.check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: csr.URIs,
		NotBefore: time.Now(), NotAfter: time.Now().Add(spec.Duration.Duration),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, csr.PublicKey, ca.PrivateKey)
	w.check(err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// A program whose volume is mounted with subPath, and one that trusts somebody
// else, in mutual TLS with those that do as they should.
func TestTroubleshootingOfPeers(t *testing.T) {
	w := newWorld(t, withBundle, func(w *world) string { return w.volumeSection(allForms) },
		func(*world) string { return "certificate: {duration: 20s, privateKey: {algorithm: Ed25519}}" })
	server, client := podFiles{w.publish(w.pod("server"))}, podFiles{w.publish(w.pod("client"))}
	stale := podFiles{w.mountSubPaths(server.target, "both.pem", "bundle.json")}
	good, bad := server.serve(t), stale.serve(t)
	w.check(client.call(t.Context(), bad)) // at first

	stranger := podFiles{t.TempDir()}
	others, err := x509bundle.Parse(spiffeid.RequireTrustDomainFromString(trustDomain), w.newCA("other").CertificatePEM)
	w.check(err)
	bundle, err := spiffebundle.FromX509Bundle(others).Marshal()
	w.check(err)
	w.check(os.WriteFile(filepath.Join(stranger.target, "bundle.json"), bundle, 0o600))
	w.check(os.WriteFile(filepath.Join(stranger.target, "both.pem"), []byte(w.readFile(client.target, "both.pem")), 0o600))
	err = stranger.call(t.Context(), good)
	troubleshooting.Row("x509: certificate signed by unknown authority").Seen(t, fmt.Sprint(err))

	w.eventually("the certificate that nobody reads anew has expired", func() bool {
		err = client.call(t.Context(), bad)
		return err != nil
	})
	troubleshooting.Row("x509: certificate has expired or is not yet valid: …").Seen(t, err.Error())
	w.check(client.call(t.Context(), good))
}

// mountSubPaths mounts files of a volume as a container runtime does for a
// volumeMount with subPath: what is there at that moment, and for good.
func (w *world) mountSubPaths(target string, names ...string) (folder string) {
	w.t.Helper()
	folder = w.t.TempDir()
	for _, name := range names {
		path := filepath.Join(folder, name)
		w.check(os.WriteFile(path, nil, 0o600))
		w.check(unix.Mount(filepath.Join(target, name), path, "", unix.MS_BIND, ""))
		w.t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	}
	return folder
}
