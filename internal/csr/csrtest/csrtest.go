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
// Keys and signatures follow from names and contents, without any chance, so
// that the same template gives the same bytes every time. What package corpus
// makes with this, the files of testdata/requests, can be made again.
package csrtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
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
	// Reshape rearranges the elements of the signed part before it is signed.
	Reshape func(info [][]byte) [][]byte
	// Key signs, with Hash, and says that it did so with Algorithm.
	Key       crypto.Signer
	Hash      crypto.SignerOpts
	Algorithm []byte // an AlgorithmIdentifier
	// Spoil flips a bit of the signature.
	Spoil bool
	// Signature makes something else of the signature, which is a BIT STRING.
	Signature func(bitString []byte) []byte
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
	elements := [][]byte{
		must(asn1.Marshal(t.Version)), t.Subject, t.PublicKey, Element(0xa0, attributes...), t.AfterInfo,
	}
	if t.Reshape != nil {
		elements = t.Reshape(elements)
	}
	info := Sequence(elements...)
	signature := Element(0x03, []byte{0}, t.signature(info))
	if t.Signature != nil {
		signature = t.Signature(signature)
	}
	return Sequence(info, t.Algorithm, signature, t.AfterSignature)
}

func (t Template) signature(info []byte) []byte {
	signature := t.sign(info)
	if t.Spoil {
		signature[len(signature)-1] ^= 1
	}
	return signature
}

func (t Template) sign(info []byte) []byte {
	digest := info
	if hash := t.Hash.HashFunc(); hash != 0 {
		h := hash.New()
		h.Write(info)
		digest = h.Sum(nil)
	}
	// ECDSA is deterministic (RFC 6979) without a random source, RSA-PSS takes
	// its salt from one, and the others need none.
	var random io.Reader = zeros{}
	if _, ok := t.Key.(*ecdsa.PrivateKey); ok {
		random = nil
	}
	return must(t.Key.Sign(random, digest, t.Hash))
}

// zeros is a random source without any randomness.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
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
