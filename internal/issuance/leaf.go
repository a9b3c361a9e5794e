// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"crypto"
	"crypto/x509"
	"errors"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// newSVID makes an SVID of a chain of certificates, leaf first, and the key of the
// leaf, if by the X.509-SVID standard they are one (sections 4 and 5.2).
//
// go-spiffe has the same check for those who have the key as bytes, and no other.
// To read a key back from bytes its public part is computed anew, which with P-521
// takes a millisecond: more than all the rest. A test holds the two to the same
// verdicts.
func newSVID(chain []*x509.Certificate, key crypto.Signer) (*x509svid.SVID, error) {
	id, err := checkLeaf(chain[0])
	if err != nil {
		return nil, err
	}
	for _, certificate := range chain[1:] {
		if err := checkAuthority(certificate); err != nil {
			return nil, err
		}
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(chain[0].PublicKey) {
		return nil, errors.New("leaf certificate does not match private key")
	}
	return &x509svid.SVID{ID: id, Certificates: chain, PrivateKey: key}, nil
}

func checkLeaf(leaf *x509.Certificate) (spiffeid.ID, error) {
	id, err := x509svid.IDFromCert(leaf)
	switch {
	case err != nil:
		return id, err
	case id.Path() == "":
		return id, errors.New("leaf certificate SPIFFE ID must have a non-root path")
	case leaf.IsCA:
		return id, errors.New("leaf certificate must not have CA flag set to true")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return id, errors.New("leaf certificate must have 'digitalSignature' set as key usage")
	case leaf.KeyUsage&x509.KeyUsageCertSign != 0:
		return id, errors.New("leaf certificate must not have 'keyCertSign' set as key usage")
	case leaf.KeyUsage&x509.KeyUsageCRLSign != 0:
		return id, errors.New("leaf certificate must not have 'cRLSign' set as key usage")
	}
	return id, nil
}

// checkAuthority is for the certificates between the leaf and the root.
func checkAuthority(certificate *x509.Certificate) error {
	switch {
	case !certificate.IsCA:
		return errors.New("signing certificate must have CA flag set to true")
	case certificate.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("signing certificate must have 'keyCertSign' set as key usage")
	}
	return nil
}
