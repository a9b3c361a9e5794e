// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package csr makes the PKCS #10 certificate request (RFC 2986) for an SVID,
// and reads such requests strictly.
//
// The driver makes one with [Build]:
//
//	key, err := csr.KeySpec{Algorithm: csr.ECDSA, Size: 521}.Generate()
//	pem, err := csr.Build(id, key)
//
// The approver reads one with [Parse] or [Inspect], and is handed anything at
// all by anybody who may create a CertificateRequest. What it approves is then
// read again by an issuer that it does not know, so a request is good only when
// no two readers can see different things in it, and when nothing in it but the
// SPIFFE ID names anyone:
//
//   - exactly one PEM block, whose text follows from its contents;
//   - DER with no element missing, added or trailing, at any level;
//   - a subject without a single name, not only without a common name
//     (X.509-SVID standard, section 3.1);
//   - one critical subject alternative name extension with one name, a URI that
//     is a SPIFFE ID with a path, written as SPIFFE writes it (section 2);
//   - no extension besides but key usage and extended key usage, both or
//     neither, which must be those of an SVID (sections 4.3 and 4.4); no
//     attribute besides the one that carries extensions; nothing twice;
//   - a key that [KeySpec] knows and that is not worthless, and a signature by
//     it without SHA-1 or MD5.
//
// Every refusal wraps a sentinel error of its own (errors.go), and all that are
// found are reported. [CheckForeign] and [CheckNotCA] judge requests to issuers that
// do not sign SVIDs. The package does no I/O.
package csr
