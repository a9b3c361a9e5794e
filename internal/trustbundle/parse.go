// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package trustbundle

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
)

// MaxSize is the greatest size of a bundle file in bytes, 1 MiB: some five
// hundred certificates, and the most that a ConfigMap or Secret can hold.
const MaxSize = 1 << 20

var (
	// ErrTooLarge means that the file is larger than [MaxSize].
	ErrTooLarge = errors.New("trust bundle is larger than 1 MiB, the most that is taken: leave out what no pod has to verify")
	// ErrNoCertificate means that the file has no CERTIFICATE block at all.
	ErrNoCertificate = errors.New("trust bundle has no certificate")
	// ErrPrivateKey means that there is a private key in it, which would have gone
	// to every pod.
	ErrPrivateKey = errors.New("trust bundle has a private key: take it out, and replace the key if others could read the file")
	// ErrNotCertificates means that there is something else beside them: a block
	// of another type, one that is damaged or cut short.
	ErrNotCertificates = errors.New("trust bundle has something other than certificates")
)

// Parse checks that data is a trust bundle: certificates as [pemcerts.Parse] reads
// them. A certificate that is there twice counts once, and comments are dropped. The
// error names the block and line, never the content: it might be a key.
func Parse(data []byte) (*Bundle, error) {
	if len(data) > MaxSize {
		return nil, ErrTooLarge
	}
	certificates, err := pemcerts.Parse(data)
	if err != nil {
		return nil, explain(err)
	}
	var (
		bundle Bundle
		seen   = map[string]bool{}
	)
	for _, certificate := range certificates {
		if !seen[string(certificate.Raw)] {
			seen[string(certificate.Raw)] = true
			bundle.certificates = append(bundle.certificates, certificate)
			bundle.pem = append(bundle.pem, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})...)
		}
	}
	bundle.hash = HashOf(bundle.pem)
	bundle.roots = sync.OnceValue(func() *x509.CertPool { return poolOf(bundle.certificates) })
	return &bundle, nil
}

// explain says what an error of [pemcerts.Parse] means for a trust bundle.
func explain(err error) error {
	switch {
	case errors.Is(err, pemcerts.ErrNone):
		return fmt.Errorf("%w: %w", ErrNoCertificate, err)
	case errors.Is(err, pemcerts.ErrPrivateKey):
		return fmt.Errorf("%w: %w", ErrPrivateKey, err)
	default:
		return fmt.Errorf("%w: %w", ErrNotCertificates, err)
	}
}
