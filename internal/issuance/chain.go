// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
)

// longestChain is how many certificates a chain may have. Real ones have two to
// four; to verify a link of P-521 takes milliseconds.
const longestChain = 10

// mostLinks bounds what is remembered: issuers have a few intermediates.
const mostLinks = 32

// verifiedLinks remembers pairs of CA certificates of which the second has signed the
// first. The zero value is ready for use, by many goroutines.
type verifiedLinks struct {
	mu    sync.Mutex
	links map[link]struct{}
}

// link is the hashes of two certificates.
type link struct{ child, parent [sha256.Size]byte }

// parseChain reads status.certificate of a CertificateRequest.
func parseChain(chain []byte) ([]*x509.Certificate, error) {
	certificates, err := pemcerts.Parse(chain)
	if err != nil {
		return nil, fmt.Errorf("status.certificate: %w", err)
	}
	return certificates, nil
}

// verifyChain makes an SVID of a chain of certificates, leaf first, and the key of the
// leaf, if the leaf is what was requested and each certificate has signed the one
// before it. Whether a trust bundle verifies the chain is not asked here. A root may
// be the last of the chain.
//
// go-spiffe has a check for those who have the key as bytes, and no other. To read a
// key back from bytes its public part is computed anew, which with P-521 takes a
// millisecond. It does not look at signatures, nor at names beside the URI: verifyChain is
// stricter, and a test holds it never to be more lenient.
func (l *verifiedLinks) verifyChain(chain []*x509.Certificate, id spiffeid.ID, key crypto.Signer) (*x509svid.SVID, error) {
	if len(chain) > longestChain {
		return nil, fmt.Errorf("the chain has %d certificates, at most %d are taken: the issuer must return the leaf and what has signed it", len(chain), longestChain)
	}
	if err := checkLeaf(chain[0], id, key); err != nil {
		return nil, fmt.Errorf("certificate 1 of %d: %w", len(chain), err)
	}
	for i, parent := range chain[1:] {
		if err := l.checkLink(chain[i], parent, i > 0); err != nil {
			return nil, fmt.Errorf("certificate %d of %d: %w", i+2, len(chain), err)
		}
	}
	return &x509svid.SVID{ID: id, Certificates: chain, PrivateKey: key}, nil
}

// checkLink checks that parent is a CA that has signed child. The links above a leaf
// are the same from one request to the next, and are remembered.
func (l *verifiedLinks) checkLink(child, parent *x509.Certificate, remember bool) error {
	switch {
	case !parent.IsCA:
		return errors.New("signing certificate must have CA flag set to true")
	case parent.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("signing certificate must have 'keyCertSign' set as key usage")
	case !bytes.Equal(child.RawIssuer, parent.RawSubject):
		return fmt.Errorf("its subject is %+.120q, and the certificate before it was issued by %+.120q: the issuer must return each certificate followed by the one that has signed it",
			parent.Subject.String(), child.Issuer.String())
	case isOversized(parent):
		return fmt.Errorf("its RSA key is longer than %d bits, the most that is taken", longestRSA)
	case remember && l.has(child, parent):
		return nil
	}
	if err := child.CheckSignatureFrom(parent); err != nil {
		return fmt.Errorf("%q has not signed the certificate before it: %w: the issuer must return each certificate followed by the one that has signed it", parent.Subject.String(), err)
	}
	if remember {
		l.add(child, parent)
	}
	return nil
}

// longestRSA is how many bits an RSA key may have with which a certificate is signed: as many
// as crypto/tls takes from peers. The time to verify a signature grows with the square, and
// with one key that fills status.certificate it is half a minute of CPU time.
const longestRSA = 8192

// isOversized reports whether a certificate has an RSA key that is longer than that.
func isOversized(certificate *x509.Certificate) bool {
	key, ok := certificate.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() > longestRSA
}

func linkOf(child, parent *x509.Certificate) link {
	return link{sha256.Sum256(child.Raw), sha256.Sum256(parent.Raw)}
}

func (l *verifiedLinks) has(child, parent *x509.Certificate) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.links[linkOf(child, parent)]
	return known
}

func (l *verifiedLinks) add(child, parent *x509.Certificate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.links == nil || len(l.links) >= mostLinks {
		l.links = map[link]struct{}{}
	}
	l.links[linkOf(child, parent)] = struct{}{}
}
