// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// checkLeaf returns nil if a leaf is what was requested: an X.509-SVID (X.509-SVID
// standard, sections 4 and 5.2) for id and for the key, that may be used for exactly
// what was requested, and that has no other name.
//
// It is stricter than go-spiffe's check, which looks at the URI alone: a client that
// is no SPIFFE client takes a DNS name in the certificate for the name of the server.
func checkLeaf(leaf *x509.Certificate, id spiffeid.ID, key crypto.Signer) error {
	for _, check := range []func() error{
		func() error { return checkLeafID(leaf, id) },
		func() error { return checkLeafUsage(leaf) },
		func() error { return checkLeafExtUsage(leaf) },
		func() error { return checkAltNames(leaf, id) },
		func() error { return checkSubject(leaf, id) },
		func() error { return checkLeafKey(leaf, key) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func checkLeafID(leaf *x509.Certificate, id spiffeid.ID) error {
	got, err := x509svid.IDFromCert(leaf)
	switch {
	case err != nil:
		return fmt.Errorf("%w: the issuer must sign the URI of the request, and no other", err)
	case got.Path() == "":
		return errors.New("leaf certificate SPIFFE ID must have a non-root path")
	case got != id:
		return fmt.Errorf("it is for %s, asked for was %s", got, id)
	default:
		return nil
	}
}

// checkLeafUsage checks the key usage. keyEncipherment and keyAgreement may be there
// (X.509-SVID standard, section 4.3), and so may others that sign no certificates.
func checkLeafUsage(leaf *x509.Certificate) error {
	switch {
	case leaf.IsCA:
		return errors.New("leaf certificate must not have CA flag set to true: the issuer must not sign requests as CAs")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("leaf certificate must have 'digitalSignature' set as key usage: the issuer must sign with the usages of the request")
	case leaf.KeyUsage&x509.KeyUsageCertSign != 0:
		return errors.New("leaf certificate must not have 'keyCertSign' set as key usage: the issuer must sign with the usages of the request")
	case leaf.KeyUsage&x509.KeyUsageCRLSign != 0:
		return errors.New("leaf certificate must not have 'cRLSign' set as key usage: the issuer must sign with the usages of the request")
	default:
		return nil
	}
}

// checkLeafExtUsage demands the extended key usages of the request, each once.
func checkLeafExtUsage(leaf *x509.Certificate) error {
	var server, client bool
	for _, usage := range leaf.ExtKeyUsage {
		switch usage {
		case x509.ExtKeyUsageServerAuth:
			server = true
		case x509.ExtKeyUsageClientAuth:
			client = true
		default:
			return fmt.Errorf("leaf certificate has extended key usage %s, which was not requested: the issuer must sign for serverAuth and clientAuth alone", extUsageName(usage))
		}
	}
	switch {
	case len(leaf.UnknownExtKeyUsage) > 0:
		return fmt.Errorf("leaf certificate has extended key usage %s, which was not requested: the issuer must sign for serverAuth and clientAuth alone", leaf.UnknownExtKeyUsage[0])
	case !server:
		return errors.New("leaf certificate does not have extended key usage serverAuth: the issuer must sign with the usages of the request")
	case !client:
		return errors.New("leaf certificate does not have extended key usage clientAuth: the issuer must sign with the usages of the request")
	default:
		return nil
	}
}

func extUsageName(usage x509.ExtKeyUsage) string {
	switch usage {
	case x509.ExtKeyUsageAny:
		return "anyExtendedKeyUsage"
	case x509.ExtKeyUsageCodeSigning:
		return "codeSigning"
	case x509.ExtKeyUsageEmailProtection:
		return "emailProtection"
	case x509.ExtKeyUsageTimeStamping:
		return "timeStamping"
	case x509.ExtKeyUsageOCSPSigning:
		return "OCSPSigning"
	default:
		return fmt.Sprintf("number %d of crypto/x509", usage)
	}
}

// oidSubjectAltName is that of RFC 5280, section 4.2.1.6.
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// uriName is the tag of a uniformResourceIdentifier among general names.
const uriName = cbasn1.Tag(6 | 0x80)

// checkAltNames demands that the SPIFFE ID, letter for letter, is the only
// alternative name. It reads the extension itself: crypto/x509 passes over names of
// the kinds that it does not know, and other readers do not.
func checkAltNames(leaf *x509.Certificate, id spiffeid.ID) error {
	for _, extension := range leaf.Extensions {
		if !extension.Id.Equal(oidSubjectAltName) {
			continue
		}
		value := cryptobyte.String(extension.Value)
		var names cryptobyte.String
		if !value.ReadASN1(&names, cbasn1.SEQUENCE) || !value.Empty() {
			return errors.New("leaf certificate has a subject alternative name extension that cannot be read")
		}
		for !names.Empty() {
			var name cryptobyte.String
			var tag cbasn1.Tag
			if !names.ReadAnyASN1(&name, &tag) {
				return errors.New("leaf certificate has a subject alternative name that cannot be read")
			}
			if tag != uriName || string(name) != id.String() {
				return fmt.Errorf("leaf certificate has %s, which was not requested: the issuer must sign the names of the request alone", altName(tag, name))
			}
		}
	}
	return nil
}

// altName says what a general name is (RFC 5280, section 4.2.1.6).
func altName(tag cbasn1.Tag, value []byte) string {
	const most = 120
	short := value[:min(len(value), most)]
	switch tag & 0x1f {
	case 1:
		return fmt.Sprintf("email address %+q", short)
	case 2:
		return fmt.Sprintf("DNS name %+q", short)
	case 6:
		return fmt.Sprintf("URI %+q", short)
	case 7:
		if address, ok := netip.AddrFromSlice(value); ok {
			return fmt.Sprintf("IP address %s", address)
		}
		return fmt.Sprintf("IP address %x", short)
	default:
		return fmt.Sprintf("an alternative name of kind %d", tag&0x1f)
	}
}

// Attributes of a subject: of RFC 5280, appendix A.1.
var (
	oidCommonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidEmailAddress = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
)

// checkSubject refuses a subject that some client takes for a name of the server or
// the user: an email address, and a common name that is a host name, an IP address,
// an email address or a URI other than the SPIFFE ID. Clients that know common names
// look at them when there is no DNS name, and within a namespace a Service's name has
// a single label. What else a subject says, an issuer may add: X.509-SVID allows it.
func checkSubject(leaf *x509.Certificate, id spiffeid.ID) error {
	for _, attribute := range leaf.Subject.Names {
		if attribute.Type.Equal(oidEmailAddress) {
			return fmt.Errorf("leaf certificate has email address %+.120q in its subject, which was not requested: the issuer must not add one", fmt.Sprint(attribute.Value))
		}
		if !attribute.Type.Equal(oidCommonName) {
			continue
		}
		name, ok := attribute.Value.(string)
		if kind := commonNameKind(name); ok && kind == "" || name == id.String() {
			continue
		}
		return fmt.Errorf("leaf certificate has common name %+.120q, %s that was not requested: the issuer must not add one", fmt.Sprint(attribute.Value), commonNameKind(name))
	}
	return nil
}

// commonNameKind says what a client might take a common name for, and is empty if
// it is plain text.
func commonNameKind(name string) string {
	trimmed := strings.TrimSpace(name)
	switch _, err := netip.ParseAddr(strings.Trim(trimmed, "[]")); {
	case err == nil:
		return "an IP address"
	case strings.Contains(trimmed, "@"):
		return "an email address"
	case strings.Contains(trimmed, "://"):
		return "a URI"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "text with control characters"
	case trimmed != "" && !strings.ContainsFunc(trimmed, notInHostName):
		return "a host name"
	default:
		return ""
	}
}

// notInHostName reports whether a rune is in no host name, of any script, with a
// wildcard or not.
func notInHostName(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.*", r)
}

func checkLeafKey(leaf *x509.Certificate, key crypto.Signer) error {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return errors.New("leaf certificate does not match private key: it is for the key of another request")
	}
	return nil
}
