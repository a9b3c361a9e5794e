// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package trustbundle

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"
)

// Bundle is a trust bundle that has been checked: one or more CA certificates,
// all different, in the order of the file. It never changes. The methods of a nil
// one, which is no bundle, return nothing.
type Bundle struct {
	pem          []byte
	certificates []*x509.Certificate
	hash         string
	// roots has the certificates as crypto/x509 wants them.
	roots func() *x509.CertPool
}

func poolOf(certificates []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, certificate := range certificates {
		pool.AddCert(certificate)
	}
	return pool
}

// PEM returns the certificates as CERTIFICATE blocks with nothing between them.
// It must not be changed.
func (b *Bundle) PEM() []byte {
	if b == nil {
		return nil
	}
	return b.pem
}

// Certificates returns the certificates. They must not be changed.
func (b *Bundle) Certificates() []*x509.Certificate {
	if b == nil {
		return nil
	}
	return b.certificates
}

// Hash names the content: 16 hexadecimal digits, or empty for no bundle. It is
// [HashOf] what PEM returns.
func (b *Bundle) Hash() string {
	if b == nil {
		return ""
	}
	return b.hash
}

// HashOf returns the hash of a bundle in the form that [Bundle.PEM] has.
func HashOf(pem []byte) string {
	sum := sha256.Sum256(pem)
	return hex.EncodeToString(sum[:8])
}

// EarliestExpiry returns when the first of the certificates expires, or has, and
// the zero time for no bundle.
func (b *Bundle) EarliestExpiry() time.Time {
	var earliest time.Time
	for _, certificate := range b.Certificates() {
		if earliest.IsZero() || certificate.NotAfter.Before(earliest) {
			earliest = certificate.NotAfter
		}
	}
	return earliest
}

// Verify returns nil if a certificate chain, leaf first, leads to a certificate of the
// bundle: as a peer sees it that has this bundle, and at the given time. If the leaf is
// not valid then, at the nearest time at which it is. There must be a bundle, and a leaf.
func (b *Bundle) Verify(chain []*x509.Certificate, at time.Time) error {
	leaf := chain[0]
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: b.roots(), Intermediates: poolOf(chain[1:]), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

// Warnings says of each certificate what somebody may not have meant, though
// others may have: one that is no CA, or that is not valid now, verifies nobody.
func (b *Bundle) Warnings(now time.Time) []string {
	var warnings []string
	for i, certificate := range b.Certificates() {
		warn := func(format string, args ...any) {
			warnings = append(warnings, fmt.Sprintf("certificate %d (%q): ", i+1, shorten(certificate.Subject.String()))+fmt.Sprintf(format, args...))
		}
		if !certificate.IsCA {
			warn("it is not a CA, and verifies no other: is it a leaf where its issuer was meant?")
		}
		switch {
		case now.After(certificate.NotAfter):
			warn("it expired at %s", certificate.NotAfter.Format(time.RFC3339))
		case now.Before(certificate.NotBefore):
			warn("it is not valid before %s", certificate.NotBefore.Format(time.RFC3339))
		}
	}
	return warnings
}

// shorten cuts a name that somebody else has chosen.
func shorten(name string) string {
	const most = 100
	if runes := []rune(name); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return name
}
