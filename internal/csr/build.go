// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Build makes the certificate request for an SVID: id as the only name, key as
// the key to certify, which also signs the request. The result is one PEM block
// that [Parse] accepts: empty subject, one subject alternative name extension,
// that holds one URI; no other extension or attribute. The extension is critical, as
// RFC 5280, section 4.2.1.6, demands when the subject is empty.
//
// crypto/x509 could make the same request, byte for byte, but it verifies each
// signature that it has just made. With an ECDSA 521 key, the default, that takes
// three times as long as signing and would add 1.3 ms to every publish and
// renewal (BenchmarkBuild has the numbers). So the request is encoded here.
//
// Build fails with [ErrURI] when id has no path, and so names no workload, and
// with [ErrKey] when key is not of a supported kind.
func Build(id spiffeid.ID, key crypto.Signer) ([]byte, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if key == nil {
		return nil, fmt.Errorf("%w: there is none", ErrKey)
	}
	if err := checkKey(key.Public()); err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	info, err := buildInfo(id, public)
	if err != nil {
		return nil, fmt.Errorf("encoding the request for %s: %w", id, err)
	}
	scheme, err := schemeFor(KeySpecOf(key.Public()))
	if err != nil {
		return nil, err
	}
	signature, err := crypto.SignMessage(key, rand.Reader, info, scheme.hash)
	if err != nil {
		return nil, fmt.Errorf("signing the request for %s: %w", id, err)
	}
	var whole cryptobyte.Builder
	whole.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(info)
		b.AddBytes(scheme.identifier)
		b.AddASN1BitString(signature)
	})
	der, err := whole.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding the request for %s: %w", id, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// buildInfo encodes what is signed (RFC 2986, section 4.1).
func buildInfo(id spiffeid.ID, public []byte) ([]byte, error) {
	var info cryptobyte.Builder
	info.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)                                      // version
		b.AddASN1(asn1.SEQUENCE, func(*cryptobyte.Builder) {}) // subject
		b.AddBytes(public)
		b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { // the one attribute
				b.AddASN1ObjectIdentifier(oidExtensionRequest())
				b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { addSAN(b, id) })
				})
			})
		})
	})
	return info.Bytes()
}

// addSAN encodes the one extension (RFC 5280, section 4.2.1.6).
func addSAN(b *cryptobyte.Builder, id spiffeid.ID) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidSubjectAltName())
		b.AddASN1Boolean(true) // critical
		b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.Tag(uriTag).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(id.String())) })
			})
		})
	})
}

// schemeFor returns how a key signs: with the hash that is as long as an ECDSA
// key's curve, as crypto/x509 does.
func schemeFor(key KeySpec) (signatureScheme, error) {
	hashes := map[KeySpec]crypto.Hash{{ECDSA, 384}: crypto.SHA384, {ECDSA, 521}: crypto.SHA512, {Ed25519, 0}: 0}
	want, ok := hashes[key]
	if !ok {
		want = crypto.SHA256
	}
	for _, scheme := range signatureSchemes() {
		if scheme.key == key.Algorithm && scheme.hash == want {
			return scheme, nil
		}
	}
	return signatureScheme{}, fmt.Errorf("%w: nothing signs with %s", ErrKey, key)
}
