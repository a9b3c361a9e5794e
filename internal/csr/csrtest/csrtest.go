// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package csrtest makes certificate requests for tests, wrong ones above all.
//
// crypto/x509 makes only requests that are more or less right. A [Template] is
// one level below: each part is DER that a test can put anything into, and the
// whole is then signed properly, so that a reader has nothing to object to but
// the one thing that the test is about:
//
//	pem := csrtest.Good(key).With(csrtest.Subject(pkix.Name{CommonName: "x"})).PEM()
//
// [Cases] is the collection of them, each with the sentinel errors of package
// csr that it must be refused with. The files in testdata/requests are made
// from it: after adding a case, go test ./internal/csr -run TestCorpus -update
// writes the file that is missing.
package csrtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
)

// ID is the SPIFFE ID that good requests ask for. Its ServiceAccount is
// example-app in namespace sandbox.
const ID = "spiffe://my.trust.domain/ns/sandbox/sa/example-app"

// Template is a certificate request in parts. All byte slices are DER.
type Template struct {
	Version    int
	Subject    []byte           // a Name
	PublicKey  []byte           // a SubjectPublicKeyInfo
	Extensions []pkix.Extension // for the attribute extensionRequest
	// Attributes are all attributes. If nil, there is one with Extensions.
	Attributes [][]byte
	// AfterInfo and AfterSignature are put behind the last element of the
	// signed part and of the whole.
	AfterInfo, AfterSignature []byte
	// Key signs, with Hash, and says that it did so with Algorithm.
	Key       crypto.Signer
	Hash      crypto.SignerOpts
	Algorithm []byte // an AlgorithmIdentifier
	// Spoil flips a bit of the signature.
	Spoil bool
	// Wrap makes the result from the DER encoded request. If nil, it is one PEM block.
	Wrap func(der []byte) []byte
}

// Mutation changes a Template.
type Mutation func(*Template)

// Good returns the template of a request for [ID] that is right in every way,
// with an ECDSA, RSA or Ed25519 key.
func Good(key crypto.Signer) Template {
	t := Template{
		Subject:    []byte{0x30, 0x00},
		PublicKey:  must(x509.MarshalPKIXPublicKey(key.Public())),
		Extensions: []pkix.Extension{SAN(URI(ID))},
		Key:        key,
	}
	switch key.(type) {
	case *ecdsa.PrivateKey:
		t.Hash, t.Algorithm = crypto.SHA256, Sequence(OID(1, 2, 840, 10045, 4, 3, 2))
	case ed25519.PrivateKey:
		t.Hash, t.Algorithm = crypto.Hash(0), Sequence(OID(1, 3, 101, 112))
	default:
		t.Hash, t.Algorithm = crypto.SHA256, Sequence(OID(1, 2, 840, 113549, 1, 1, 11), asn1.NullBytes)
	}
	return t
}

// With returns the template with the mutations applied.
func (t Template) With(mutations ...Mutation) Template {
	for _, mutate := range mutations {
		mutate(&t)
	}
	return t
}

// PEM encodes and signs the request.
func (t Template) PEM() []byte {
	if t.Wrap != nil {
		return t.Wrap(t.DER())
	}
	return Block(t.DER())
}

// DER encodes and signs the request.
func (t Template) DER() []byte {
	attributes := t.Attributes
	if attributes == nil {
		attributes = [][]byte{ExtensionRequest(t.Extensions)}
	}
	info := Sequence(
		must(asn1.Marshal(t.Version)), t.Subject, t.PublicKey,
		Element(0xa0, attributes...), t.AfterInfo,
	)
	signature := t.sign(info)
	if t.Spoil {
		signature[len(signature)-1] ^= 1
	}
	return Sequence(info, t.Algorithm, Element(0x03, []byte{0}, signature), t.AfterSignature)
}

func (t Template) sign(info []byte) []byte {
	digest := info
	if hash := t.Hash.HashFunc(); hash != 0 {
		h := hash.New()
		h.Write(info)
		digest = h.Sum(nil)
	}
	return must(t.Key.Sign(rand.Reader, digest, t.Hash))
}

// Block returns der in a PEM block of the right type.
func Block(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// Element encodes one element with the identifier octet tag.
func Element(tag byte, contents ...[]byte) []byte {
	body := bytes.Join(contents, nil)
	der := must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagOctetString, Bytes: body}))
	der[0] = tag
	return der
}

// Sequence encodes a SEQUENCE.
func Sequence(contents ...[]byte) []byte { return Element(0x30, contents...) }

// Set encodes a SET.
func Set(contents ...[]byte) []byte { return Element(0x31, contents...) }

// OID encodes an object identifier.
func OID(arcs ...int) []byte { return must(asn1.Marshal(asn1.ObjectIdentifier(arcs))) }

// URI encodes a subject alternative name of type uniformResourceIdentifier.
func URI(text string) []byte { return Element(0x86, []byte(text)) }

// SAN returns a critical subject alternative name extension.
func SAN(names ...[]byte) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: Sequence(names...)}
}

// ExtensionRequest encodes the attribute, with one value for each list.
func ExtensionRequest(lists ...[]pkix.Extension) []byte {
	var values [][]byte
	for _, list := range lists {
		values = append(values, must(asn1.Marshal(list)))
	}
	return Attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}, values...)
}

// Attribute encodes an attribute with any values.
func Attribute(oid asn1.ObjectIdentifier, values ...[]byte) []byte {
	return Sequence(OID(oid...), Set(values...))
}

// must panics: a test that cannot make its input is itself wrong.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
