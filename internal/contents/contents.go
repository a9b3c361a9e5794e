// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// Parts are what the files of a volume are made from.
type Parts struct {
	// Chain is the certificate chain of the SVID, leaf first, and Key its private
	// key in PKCS #8, both in PEM. They are parsed only where a form needs it: with
	// a key on P-521 that takes longer than all the rest.
	Chain, Key []byte
	// TrustDomain is that of the SVID.
	TrustDomain spiffeid.TrustDomain
	// Bundle is the trust bundle, or nil: then there are no files of it.
	Bundle *trustbundle.Bundle
	// Password is that of stores. It may be empty if there are none.
	Password string
	// Keystores, by the names of their files, were made of the same SVID and
	// password before, and are taken as they are.
	Keystores map[string][]byte
}

// Maker makes files. The zero value is ready for use, by many goroutines.
type Maker struct {
	mu sync.Mutex
	// truststores are those that were made last, by their format.
	truststores map[format]truststore
}

// Make returns the content of each file that has a name.
func (m *Maker) Make(names volume.Files, parts Parts) (map[string][]byte, error) {
	files := map[string][]byte{}
	put := func(name string, content []byte) {
		if name != "" {
			files[name] = content
		}
	}
	put(names.Certificate, parts.Chain)
	put(names.PrivateKey, parts.Key)
	// The order of the key and its chain is that of nginx, HAProxy, Envoy and Go.
	put(names.CredentialBundle, bytes.Join([][]byte{parts.Key, parts.Chain}, nil))
	if parts.Bundle != nil {
		put(names.TrustBundle, parts.Bundle.PEM())
	}
	if names.SPIFFEBundle != "" && parts.Bundle != nil {
		document, err := spiffeBundle(parts.TrustDomain, parts.Bundle)
		if err != nil {
			return nil, fmt.Errorf("encoding %s: %w", names.SPIFFEBundle, err)
		}
		put(names.SPIFFEBundle, document)
	}
	if !names.HaveStores() {
		return files, nil
	}
	put(names.PasswordFile, []byte(parts.Password))
	for format, stores := range map[format]volume.Stores{pkcs12Format: names.PKCS12, jksFormat: names.JKS} {
		if err := m.makeStores(format, stores, parts, put); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// spiffeBundle is a SPIFFE bundle document (SPIFFE Trust Domain and Bundle,
// section 4). It has neither sequence number nor refresh hint, which are for those
// who fetch it from somewhere. Keys that a JWK cannot hold (RFC 7518, section
// 6.2.1.1) are left out; nobody verifies an SVID with those.
func spiffeBundle(td spiffeid.TrustDomain, bundle *trustbundle.Bundle) ([]byte, error) {
	document := spiffebundle.New(td)
	for _, certificate := range bundle.Certificates() {
		if hasJWK(certificate.PublicKey) {
			document.AddX509Authority(certificate)
		}
	}
	return document.Marshal()
}
