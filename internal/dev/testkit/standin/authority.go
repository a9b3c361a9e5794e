// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package standin

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// authority is what signs.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	// chain is the certificates from the one that signs up to the root, one PEM block
	// each.
	chain []string
}

func newAuthority(ca testkit.CA) (*authority, error) {
	pair, err := tls.X509KeyPair(ca.CertificatePEM, ca.KeyPEM)
	if err != nil {
		return nil, fmt.Errorf("the CA of a stand-in: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the CA of a stand-in has a %T, must have an ECDSA key", pair.PrivateKey)
	}
	a := &authority{certificate: pair.Leaf, key: key}
	for _, der := range pair.Certificate {
		a.chain = append(a.chain, encode(der))
	}
	return a, nil
}

// sign makes the certificate of the template for a key, as one PEM block.
func (a *authority) sign(template *x509.Certificate, public any) (string, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return "", err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return "", err
	}
	return encode(der), nil
}

func encode(der []byte) string {
	return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// errNoCSR is for whatever is no certificate request that its own key has signed.
var errNoCSR = errors.New("the CSR is not a PEM encoded certificate request that its key has signed")

func parseCSR(data []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errNoCSR
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoCSR, err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoCSR, err)
	}
	return csr, nil
}
