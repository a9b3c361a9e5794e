// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// Warning is a combination of settings that is valid, and is known not to work. It
// has the fields of a [Fault], and the file is loaded all the same: what an issuer
// can do changes without this program.
type Warning Fault

// String returns FILE:LINE:COLUMN: warning: PATH: MESSAGE.
func (w Warning) String() string {
	f := Fault(w)
	f.Path = "warning: " + f.Path
	return f.Error()
}

// Warnings returns what is known not to work, in the order of the positions in the
// file. The caller must not change it.
func (c *Config) Warnings() []Warning { return c.warnings }

// issuerKeys says which kinds of key the issuers of an API group do not sign.
type issuerKeys struct {
	// issuer is what operators call it.
	issuer string
	// unsupported are the kinds of key, and supported is what to use instead.
	unsupported []policy.KeySpec
	supported   string
}

// keysOfIssuers knows the external issuers, by API group. There is nothing for
// cert-manager.io: its kinds Issuer and ClusterIssuer do not tell which issuer it
// is. Each entry has its source in manifests/issuers.md.
func keysOfIssuers() map[string]issuerKeys {
	return map[string]issuerKeys{
		"awspca.cert-manager.io": {
			issuer:      "AWS Private CA",
			unsupported: []policy.KeySpec{{Algorithm: policy.Ed25519}},
			supported:   "ECDSA or RSA",
		},
		"cas-issuer.jetstack.io": {
			issuer:      "Google Certificate Authority Service",
			unsupported: []policy.KeySpec{{Algorithm: policy.ECDSA, Size: 521}},
			supported:   "ECDSA 256 or 384, Ed25519 or RSA",
		},
	}
}

// warnOfKey warns of a kind of key that the issuer does not sign. The position is
// that of the first of the fields concerned which is in the file.
func (r *reader) warnOfKey(c *v1alpha1.SPIFFEConfiguration) {
	known, found := keysOfIssuers()[c.IssuerRef.Group]
	key := policy.KeySpec{Algorithm: policy.Algorithm(c.Certificate.PrivateKey.Algorithm), Size: c.Certificate.PrivateKey.Size}
	if !found || !slices.Contains(known.unsupported, key) {
		return
	}
	const path = "certificate.privateKey"
	paths := []string{path + ".size", path + ".algorithm", "issuerRef.group"}
	at := r.locate(paths[max(0, slices.IndexFunc(paths, r.isSet))])
	r.warnings = append(r.warnings, Warning{r.file, at.Line, at.Column, path, wrong(
		"is a kind of key that "+known.issuer+" does not sign, so pods would not start", key.String(),
		"use "+known.supported+", or another issuer")})
}
