// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csrtest

import (
	"crypto"
	"crypto/x509/pkix"
	"encoding/asn1"
)

// Subject sets the subject.
func Subject(name pkix.Name) Mutation {
	return func(t *Template) { t.Subject = must(asn1.Marshal(name.ToRDNSequence())) }
}

// SubjectAttribute sets a subject of one attribute of any type.
func SubjectAttribute(value string, oid ...int) Mutation {
	return Subject(pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: oid, Value: value}}})
}

// Names replaces the names in the subject alternative name extension.
func Names(names ...[]byte) Mutation {
	return func(t *Template) { t.Extensions = []pkix.Extension{SAN(names...)} }
}

// Extend adds an extension to those that are there.
func Extend(critical bool, value []byte, oid ...int) Mutation {
	return func(t *Template) {
		extension := pkix.Extension{Id: oid, Critical: critical, Value: value}
		t.Extensions = append(append([]pkix.Extension{}, t.Extensions...), extension)
	}
}

// Attributes replaces all attributes.
func Attributes(attributes ...[]byte) Mutation {
	return func(t *Template) { t.Attributes = attributes }
}

// AlsoAttribute adds an attribute behind extensionRequest.
func AlsoAttribute(value []byte, oid ...int) Mutation {
	return func(t *Template) {
		t.Attributes = [][]byte{ExtensionRequest(t.Extensions), Attribute(oid, value)}
	}
}

// SignedBy has another key sign than the one in the request.
func SignedBy(key crypto.Signer) Mutation { return func(t *Template) { t.Key = key } }

// SignedWith has the key sign in another way.
func SignedWith(opts crypto.SignerOpts, identifier ...[]byte) Mutation {
	return func(t *Template) { t.Hash, t.Algorithm = opts, Sequence(identifier...) }
}

// PublicKey replaces the key in the request, but not the one that signs it.
func PublicKey(der []byte) Mutation { return func(t *Template) { t.PublicKey = der } }

// Wrapped makes something else of the DER encoding than a PEM block.
func Wrapped(wrap func(der []byte) []byte) Mutation { return func(t *Template) { t.Wrap = wrap } }

// Reshaped rearranges the elements of the signed part.
func Reshaped(reshape func(info [][]byte) [][]byte) Mutation {
	return func(t *Template) { t.Reshape = reshape }
}

// Signature puts other bytes in the place of the signature's.
func Signature(change func(signature []byte) []byte) Mutation {
	return SignatureElement(func(bitString []byte) []byte {
		var bits asn1.BitString
		must(asn1.Unmarshal(bitString, &bits))
		return Element(0x03, []byte{0}, change(bits.Bytes))
	})
}

// SignatureElement puts another element in the place of the BIT STRING that
// holds the signature.
func SignatureElement(change func(bitString []byte) []byte) Mutation {
	return func(t *Template) { t.Signature = change }
}
