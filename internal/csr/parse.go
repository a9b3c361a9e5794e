// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	stdasn1 "encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// Request is what a certificate request says.
type Request struct {
	// ID is the SPIFFE ID that is asked for: the only name in the request.
	ID spiffeid.ID
	// PublicKey is the key to be certified: an *ecdsa.PublicKey,
	// *rsa.PublicKey or ed25519.PublicKey.
	PublicKey crypto.PublicKey
}

// Parse reads a certificate request, PEM encoded, as strictly as the package
// comment says. When it returns no error, then the request asks for an SVID for
// its ID and for nothing else; whether the requester may have it is for others
// to say. Otherwise the error joins every fault that was found, each of which
// wraps a sentinel error of this package, and the Request is zero.
func Parse(pemBytes []byte) (Request, error) {
	req, faults := Inspect(pemBytes)
	if len(faults) > 0 {
		return Request{}, errors.Join(faults...)
	}
	return req, nil
}

// Inspect does what [Parse] does, for those who report faults one by one and
// look for more. The Request holds whatever could be read, in spite of the
// faults: with any fault it is good for messages only. ID is then zero and
// PublicKey nil when they could not be read.
func Inspect(pemBytes []byte) (Request, []error) {
	der, err := decodePEM(pemBytes)
	if err != nil {
		return Request{}, []error{err}
	}
	var in inspection
	in.certificationRequest(der)
	if len(in.faults) == 0 {
		in.secondOpinion(der)
	}
	return in.req, in.faults
}

// inspection goes once through a request, collecting what it says and what is
// wrong with it.
type inspection struct {
	req    Request
	faults []error
}

// fault notes something wrong; the format must begin with the %w of a sentinel.
func (in *inspection) fault(format string, args ...any) {
	in.faults = append(in.faults, fmt.Errorf(format, args...))
}

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

// attributes reads all attributes, each of which is an identifier and a set of
// values (RFC 2986, section 4.1).
func (in *inspection) attributes(list cryptobyte.String) {
	seenAttributes, seenExtensions := map[string]bool{}, map[string]bool{}
	for !list.Empty() {
		var attribute, values cryptobyte.String
		ok := list.ReadASN1(&attribute, asn1.SEQUENCE)
		oid := readOID(&attribute)
		if !ok || oid == "" || !attribute.ReadASN1(&values, asn1.SET) || !attribute.Empty() {
			in.fault("%w: an attribute must be an identifier and a set of values", ErrDER)
			return
		}
		switch {
		case oid != extensionRequest:
			in.fault("%w: %s; only extensionRequest (%s) is", ErrAttribute, nameOID(oid), extensionRequest)
		case seenAttributes[oid]:
			in.fault("%w: %s", ErrRepeatedAttribute, nameOID(oid))
			in.extensionRequest(values, seenExtensions)
		default:
			in.extensionRequest(values, seenExtensions)
		}
		seenAttributes[oid] = true
	}
	if !in.undecodable() {
		in.absentExtensions(seenExtensions)
	}
}

// absentExtensions looks for those that must be there. Usages are asked for
// beside the request, too, and cert-manager refuses a request whose usages are
// others than those beside it. Without any it takes those beside it.
func (in *inspection) absentExtensions(seen map[string]bool) {
	if !seen[subjectAltName] {
		in.fault("%w: there must be one, with the SPIFFE ID", ErrNoSAN)
	}
	switch {
	case seen[keyUsage] && !seen[extKeyUsage]:
		in.fault("%w: there is none, but a key usage extension; there must be both or neither", ErrExtKeyUsage)
	case seen[extKeyUsage] && !seen[keyUsage]:
		in.fault("%w: there is none, but an extended key usage extension; there must be both or neither", ErrKeyUsage)
	}
}

// undecodable reports whether something could not be read: what was not seen
// may then be there all the same.
func (in *inspection) undecodable() bool {
	return slices.ContainsFunc(in.faults, func(fault error) bool { return errors.Is(fault, ErrDER) })
}

func (in *inspection) extensionRequest(values cryptobyte.String, seen map[string]bool) {
	var extensions cryptobyte.String
	if !values.ReadASN1(&extensions, asn1.SEQUENCE) || !values.Empty() {
		in.fault("%w, a list of extensions", ErrExtensionRequest)
		return
	}
	for !extensions.Empty() {
		var extension cryptobyte.String
		ok := extensions.ReadASN1(&extension, asn1.SEQUENCE)
		oid := readOID(&extension)
		critical, okCritical := readCritical(&extension)
		var value cryptobyte.String
		if !ok || oid == "" || !okCritical || !extension.ReadASN1(&value, asn1.OCTET_STRING) || !extension.Empty() {
			in.fault("%w: an extension must be an identifier, TRUE if it is critical, and a value", ErrDER)
			return
		}
		if seen[oid] {
			in.fault("%w: %s", ErrRepeatedExtension, nameOID(oid))
			continue
		}
		seen[oid] = true
		in.extension(oid, critical, value)
	}
}

// readCritical takes the critical flag off the front of s. DER leaves out what
// is the default: FALSE is never written.
func readCritical(s *cryptobyte.String) (critical, ok bool) {
	if !s.PeekASN1Tag(asn1.BOOLEAN) {
		return false, true
	}
	ok = s.ReadASN1Boolean(&critical)
	return critical, ok && critical
}

func (in *inspection) extension(oid string, critical bool, value cryptobyte.String) {
	switch oid {
	case subjectAltName:
		if !critical {
			in.fault("%w: it must be, as there is no subject", ErrSANNotCritical)
		}
		in.subjectAltName(value)
	case keyUsage:
		// A BIT STRING with bits 0 and 2, the five behind unused.
		if !bytes.Equal(value, []byte{byte(asn1.BIT_STRING), 2, 5, 0b1010_0000}) {
			in.fault("%w: it is %.20x; if present it must be digitalSignature and keyEncipherment", ErrKeyUsage, []byte(value))
		}
	case extKeyUsage:
		in.extKeyUsage(value)
	default:
		in.fault("%w: %s; only subject alternative name, key usage and extended key usage are", ErrExtension, nameOID(oid))
	}
}

func (in *inspection) extKeyUsage(value cryptobyte.String) {
	var list cryptobyte.String
	ok := value.ReadASN1(&list, asn1.SEQUENCE) && value.Empty()
	first, second := readOID(&list), readOID(&list)
	if first > second {
		first, second = second, first
	}
	if !ok || !list.Empty() || first != serverAuth || second != clientAuth {
		in.fault("%w: if present it must be serverAuth and clientAuth", ErrExtKeyUsage)
	}
}

// uriTag is the context-specific tag of a uniformResourceIdentifier in the
// GeneralName choice of RFC 5280, section 4.2.1.6.
const uriTag = 6

// subjectAltName reads the names. The whole tag is compared, class and form
// included: some readers look at the number alone.
func (in *inspection) subjectAltName(value cryptobyte.String) {
	var names cryptobyte.String
	if !value.ReadASN1(&names, asn1.SEQUENCE) || !value.Empty() {
		in.fault("%w: subject alternative name must be one sequence of names", ErrDER)
		return
	}
	count := 0
	for ; !names.Empty(); count++ {
		var name cryptobyte.String
		var tag asn1.Tag
		switch {
		case !names.ReadAnyASN1(&name, &tag):
			in.fault("%w: a subject alternative name cannot be decoded", ErrDER)
			return
		case tag == asn1.Tag(uriTag).ContextSpecific():
			in.uri(string(name))
		default:
			in.fault("%w: tag 0x%02x, value %+.80q", ErrSANType, uint8(tag), string(name))
		}
	}
	if count != 1 {
		in.fault("%w: there are %d", ErrSANCount, count)
	}
}

func (in *inspection) uri(text string) {
	id, err := spiffeid.FromString(text)
	if err != nil {
		in.fault("%w: %+.120q: %w", ErrURI, text, err)
		return
	}
	if err := checkID(id); err != nil {
		in.faults = append(in.faults, err)
		return
	}
	in.req.ID = id
}

// checkID refuses what no workload's SVID may have as its ID, and a trust domain
// that the SPIFFE-ID standard allows but crypto/x509 refuses to read in any
// certificate, so that no such SVID could be used: one with nothing before,
// behind or between dots.
// Source: SPIFFE-ID standard, section 2.3; X.509-SVID standard, section 3.1.
func checkID(id spiffeid.ID) error {
	switch {
	case id.IsZero():
		return fmt.Errorf("%w: it is empty", ErrURI)
	case id.Path() == "":
		return fmt.Errorf("%w: %+.120q has no path", ErrURI, id.String())
	case len(id.String()) > spiffe.MaxIDLength:
		return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrURI, len(id.String()), spiffe.MaxIDLength)
	case slices.Contains(strings.Split(id.TrustDomain().Name(), "."), ""):
		return fmt.Errorf("%w: trust domain %+.120q has an empty label", ErrURI, id.TrustDomain().Name())
	default:
		return nil
	}
}

// signature checks that the key in the request signed it. That takes a key that
// was found good: a modulus of a hundred thousand bits would keep us busy.
func (in *inspection) signature(info, identifier cryptobyte.String, signature []byte) {
	key := in.req.PublicKey
	if key == nil || checkKey(key) != nil {
		return
	}
	algorithm := KeySpecOf(key).Algorithm
	for _, scheme := range signatureSchemes() {
		if scheme.key == algorithm && bytes.Equal(scheme.identifier, identifier) {
			in.verify(scheme.algorithm, info, signature)
			return
		}
	}
	in.fault("%w: %s with an %s key; allowed are SHA-2 with ECDSA or with RSA (PKCS #1 v1.5), and Ed25519",
		ErrSignatureAlgorithm, signatureName(identifier), algorithm)
}

func (in *inspection) verify(algorithm x509.SignatureAlgorithm, info, signature []byte) {
	signed := x509.CertificateRequest{
		RawTBSCertificateRequest: info,
		SignatureAlgorithm:       algorithm,
		Signature:                signature,
		PublicKey:                in.req.PublicKey,
	}
	if err := signed.CheckSignature(); err != nil {
		in.fault("%w with the key in the request: %+.120q", ErrSignature, err.Error())
	}
}

// signatureScheme is a way of signing that is allowed. Its identifier is
// compared as DER, so that nothing can hide in the parameters.
type signatureScheme struct {
	key        Algorithm
	algorithm  x509.SignatureAlgorithm
	hash       crypto.Hash // 0 for Ed25519, which hashes by itself
	identifier []byte
}

// signatureSchemes returns what is allowed: PKCS #1 v1.5 and ECDSA with the
// SHA-2 family, and Ed25519. Identifiers: RFC 8017, appendix A.2.4; RFC 5758,
// section 3.2; RFC 8410, section 3. RSA-PSS is left out because nothing that
// makes requests here uses it.
func signatureSchemes() []signatureScheme {
	pkcs1 := func(last byte) []byte {
		return []byte{0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last, 0x05, 0x00}
	}
	ecdsa := func(last byte) []byte {
		return []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last}
	}
	return []signatureScheme{
		{RSA, x509.SHA256WithRSA, crypto.SHA256, pkcs1(0x0b)},
		{RSA, x509.SHA384WithRSA, crypto.SHA384, pkcs1(0x0c)},
		{RSA, x509.SHA512WithRSA, crypto.SHA512, pkcs1(0x0d)},
		{ECDSA, x509.ECDSAWithSHA256, crypto.SHA256, ecdsa(0x02)},
		{ECDSA, x509.ECDSAWithSHA384, crypto.SHA384, ecdsa(0x03)},
		{ECDSA, x509.ECDSAWithSHA512, crypto.SHA512, ecdsa(0x04)},
		{Ed25519, x509.PureEd25519, 0, []byte{0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70}},
	}
}

// secondOpinion makes sure that crypto/x509, which cert-manager's issuers read
// requests with, sees what was seen here. It should never find a difference.
func (in *inspection) secondOpinion(der []byte) {
	other, err := x509.ParseCertificateRequest(der)
	if err != nil {
		in.fault("%w: crypto/x509 cannot read it: %+.200q", ErrDER, err.Error())
		return
	}
	names := len(other.Subject.Names) + len(other.DNSNames) + len(other.EmailAddresses) + len(other.IPAddresses)
	if names != 0 || len(other.URIs) != 1 || other.URIs[0].String() != in.req.ID.String() {
		in.fault("%w: crypto/x509 reads other names in it than %s", ErrDER, in.req.ID)
	}
}
