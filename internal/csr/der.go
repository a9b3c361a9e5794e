// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	stdasn1 "encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// certificationRequest reads the whole (RFC 2986, section 4.2). It does so
// itself because crypto/x509 passes over extra elements at the end of any
// sequence, over attributes that it does not know and over the version.
func (in *inspection) certificationRequest(der []byte) {
	input := cryptobyte.String(der)
	var whole, info, algorithm cryptobyte.String
	var signature []byte
	if !input.ReadASN1(&whole, asn1.SEQUENCE) || !input.Empty() ||
		!whole.ReadASN1Element(&info, asn1.SEQUENCE) ||
		!whole.ReadASN1Element(&algorithm, asn1.SEQUENCE) ||
		!whole.ReadASN1BitStringAsBytes(&signature) || !whole.Empty() {
		in.fault("%w: must be one sequence of info, signature algorithm and signature", ErrDER)
		return
	}
	in.info(info)
	in.signature(info, algorithm, signature)
}

// info reads what is signed (RFC 2986, section 4.1).
func (in *inspection) info(element cryptobyte.String) {
	var info, subject, key, attributes cryptobyte.String
	var version int64
	if !element.ReadASN1(&info, asn1.SEQUENCE) ||
		!info.ReadASN1Integer(&version) ||
		!info.ReadASN1Element(&subject, asn1.SEQUENCE) ||
		!info.ReadASN1Element(&key, asn1.SEQUENCE) ||
		!info.ReadASN1(&attributes, asn1.Tag(0).ContextSpecific().Constructed()) || !info.Empty() {
		in.fault("%w: info must be version, subject, public key and attributes", ErrDER)
		return
	}
	if version != 0 {
		in.fault("%w: %d, must be 0", ErrVersion, version)
	}
	in.subject(subject)
	in.publicKey(key)
	in.attributes(attributes)
}

func (in *inspection) subject(element []byte) {
	if bytes.Equal(element, []byte{byte(asn1.SEQUENCE), 0}) {
		return
	}
	var names pkix.RDNSequence
	if rest, err := stdasn1.Unmarshal(element, &names); err != nil || len(rest) > 0 {
		in.fault("%w: it has %d bytes that cannot be decoded", ErrSubject, len(element))
		return
	}
	in.fault("%w: it is %+.120q; the SPIFFE ID must be the only name", ErrSubject, names.String())
}

func (in *inspection) publicKey(element []byte) {
	key, err := x509.ParsePKIXPublicKey(element)
	if err != nil {
		in.fault("%w: %+.120q", ErrKey, err.Error())
		return
	}
	in.req.PublicKey = key
	if err := checkKey(key); err != nil {
		in.faults = append(in.faults, err)
		return
	}
	// The decoder overlooks additions; the encoder knows one form only.
	if canonical, err := x509.MarshalPKIXPublicKey(key); err != nil || !bytes.Equal(canonical, element) {
		in.fault("%w: it is not encoded in the usual way", ErrKey)
	}
}
