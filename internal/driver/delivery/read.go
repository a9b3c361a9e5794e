// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// ErrOtherIdentity means that files and metadata of a volume are of two SVIDs.
var ErrOtherIdentity = errors.New("files and metadata do not belong together")

// Read returns what a volume holds, by its files, with the public key: its metadata may
// be older than they are, if the process was killed between writing the two. Then, and
// if the two are of different identities, it returns all that with [ErrOtherIdentity].
// Other errors wrap [volume.ErrNotFound] or [volume.ErrDamaged], or are about the files.
func (f *Files) Read(id string) (*volume.Metadata, crypto.PublicKey, error) {
	meta, err := f.store.ReadMetadata(id)
	if err != nil {
		return nil, nil, err
	}
	if !meta.IsComplete() {
		return nil, nil, fmt.Errorf("%w: %s: incomplete", volume.ErrDamaged, id)
	}
	certificates, err := f.store.ReadFile(id, meta.Files.Certificate)
	if err != nil {
		return nil, nil, err
	}
	key, err := f.store.ReadFile(id, meta.Files.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	chain, err := pemcerts.Parse(certificates)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s of volume %s: %w", volume.ErrDamaged, meta.Files.Certificate, id, err)
	}
	identity, err := x509svid.IDFromCert(chain[0])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s of volume %s: %w", volume.ErrDamaged, meta.Files.Certificate, id, err)
	}
	if err := checkKey(key, chain[0]); err != nil {
		return nil, nil, fmt.Errorf("%w: %s of volume %s: %w", volume.ErrDamaged, meta.Files.PrivateKey, id, err)
	}
	noted := meta.SPIFFEID
	meta.SPIFFEID = identity.String()
	meta.NotBefore, meta.NotAfter = chain[0].NotBefore, chain[0].NotAfter
	if noted != meta.SPIFFEID {
		err = fmt.Errorf("%w: volume %s: its SVID is for %s, its metadata for %s", ErrOtherIdentity, id, meta.SPIFFEID, noted)
	}
	return &meta, chain[0].PublicKey, err
}

// errOtherKey means that a private key is not that of a certificate.
var errOtherKey = errors.New("it does not match the certificate")

// checkKey returns an error unless a private key in a PEM block is whole, and that of a
// certificate. For ECDSA and RSA it compares the public key that is kept with the private
// one: to compute it takes the better part of a millisecond for P-521, and a start looks at
// a thousand keys. [Files.CheckKey] checks more.
func checkKey(data []byte, leaf *x509.Certificate) error {
	block, rest := pem.Decode(data)
	if block == nil || len(rest) > 0 {
		return errors.New("cannot parse it: it is not one PEM block")
	}
	var pkcs8 struct { // RFC 5958, section 2
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}
	if err := unmarshal(block.Bytes, &pkcs8); err != nil {
		return err
	}
	switch public := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		var key struct { // RFC 5915, section 3
			Version    int
			PrivateKey []byte
			NamedCurve asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
			PublicKey  asn1.BitString        `asn1:"optional,explicit,tag:1"`
		}
		if err := unmarshal(pkcs8.PrivateKey, &key); err != nil {
			return err
		}
		point, err := public.Bytes()
		if err != nil || !bytes.Equal(key.PublicKey.RightAlign(), point) {
			return errOtherKey
		}
	case *rsa.PublicKey:
		var key struct { // RFC 8017, appendix A.1.2
			Version               int
			N                     *big.Int
			E                     int
			D, P, Q, DP, DQ, QInv *big.Int
		}
		if err := unmarshal(pkcs8.PrivateKey, &key); err != nil {
			return err
		}
		if key.N.Cmp(public.N) != 0 || key.E != public.E {
			return errOtherKey
		}
	default:
		return checkOtherKey(block.Bytes, public)
	}
	return nil
}

// checkOtherKey is checkKey for kinds of key that are parsed quickly.
func checkOtherKey(der []byte, public crypto.PublicKey) error {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return err
	}
	signer, ok := key.(interface{ Public() crypto.PublicKey })
	if !ok {
		return errOtherKey
	}
	if own, ok := signer.Public().(interface {
		Equal(key crypto.PublicKey) bool
	}); !ok || !own.Equal(public) {
		return errOtherKey
	}
	return nil
}

// unmarshal parses a DER value with nothing behind it.
func unmarshal(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	switch {
	case err != nil:
		return fmt.Errorf("cannot parse it: %w", err)
	case len(rest) > 0:
		return errors.New("cannot parse it: there is something behind the key")
	}
	return nil
}

// CheckKey returns an error unless the private key in a volume is that of its certificate, to
// the last bit. It takes the better part of a millisecond for P-521.
func (f *Files) CheckKey(id string, meta *volume.Metadata) error {
	chain, err := f.store.ReadFile(id, meta.Files.Certificate)
	if err != nil {
		return err
	}
	key, err := f.store.ReadFile(id, meta.Files.PrivateKey)
	if err != nil {
		return err
	}
	if _, err := x509svid.Parse(chain, key); err != nil {
		return fmt.Errorf("%w: %s of volume %s: %w", volume.ErrDamaged, meta.Files.PrivateKey, id, err)
	}
	return nil
}

// FindContent notes in meta which trust bundle is really in a volume that an earlier
// process has left: its metadata may be older than its files.
func (f *Files) FindContent(id string, meta *volume.Metadata) {
	data, err := f.store.ReadFile(id, meta.Files.TrustBundle)
	switch {
	case err == nil:
		meta.TrustBundle = trustbundle.HashOf(data)
	case errors.Is(err, fs.ErrNotExist):
		meta.TrustBundle = ""
	default:
		meta.TrustBundle = fmt.Sprintf("unknown: %v", err) // which is none that is asked for
	}
}

// Verify returns why a trust bundle does not verify the certificate chain in a volume at a
// moment, or nil. The error is that the chain cannot be read.
func (f *Files) Verify(id string, meta *volume.Metadata, bundle *trustbundle.Bundle, at time.Time) (failure, err error) {
	data, err := f.store.ReadFile(id, meta.Files.Certificate)
	if err != nil {
		return nil, err
	}
	chain, err := pemcerts.Parse(data)
	if err != nil {
		return err, nil
	}
	return bundle.Verify(chain, at), nil
}
