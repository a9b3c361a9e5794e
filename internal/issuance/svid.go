// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// SVID is a pod's X.509-SVID, key and certificate, with where it came from. How
// it is delivered, as which files, is not its concern.
type SVID struct {
	// X509 is the SPIFFE ID, the certificate chain, leaf first, and the key.
	X509 *x509svid.SVID
	// Request is the CertificateRequest that was signed.
	Request types.NamespacedName
	// Policy is the policy under which the SVID was requested.
	Policy policy.Policy
	// Obtained is when the certificate was signed, by this node's clock as far as
	// possible: when it was received, or, if the request was signed before anybody here
	// waited for it, when its condition Ready changed.
	Obtained time.Time
}

// NotBefore is the beginning of the certificate's validity. Intermediates do not count:
// whether an expired one matters depends on the trust bundles of the peers, which may have
// another certificate for its key.
func (d *SVID) NotBefore() time.Time { return d.X509.Certificates[0].NotBefore }

// NotAfter is the end of the certificate's validity.
func (d *SVID) NotAfter() time.Time { return d.X509.Certificates[0].NotAfter }

// Marshal returns the certificate chain and the PKCS #8 private key in PEM.
func (d *SVID) Marshal() (certificates, key []byte, err error) {
	return d.X509.Marshal()
}

// longestChain is how many certificates a chain may have. Real ones have two to
// four; to verify a link of P-521 takes milliseconds.
const longestChain = 10

// mostLinks bounds what is remembered: issuers have a few intermediates.
const mostLinks = 32

// verifiedLinks remembers pairs of CA certificates of which the second has signed the
// first. The zero value is ready for use, by many goroutines.
type verifiedLinks struct {
	mu    sync.Mutex
	links map[link]struct{}
}

// link is the hashes of two certificates.
type link struct{ child, parent [sha256.Size]byte }

// newSVID checks what the issuer signed against what was requested: the
// X.509-SVID rules (SPIFFE X.509-SVID section 5.2, leaf validation), the SPIFFE
// ID, that the certificate is for our key, has no other names and usages, and that
// the chain is one. The error wraps [ErrBadCertificate].
//
// A life longer than requested is none of its faults, nor that the certificate is not
// valid now: whoever gets the SVID decides what to do about those.
func (l *verifiedLinks) newSVID(id spiffeid.ID, key crypto.Signer, request *cmapi.CertificateRequest, under policy.Policy) (*SVID, error) {
	chain, err := parseChain(request.Status.Certificate)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	svid, err := l.verifyChain(chain, id, key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	return &SVID{
		X509:     svid,
		Request:  types.NamespacedName{Namespace: request.Namespace, Name: request.Name},
		Policy:   under,
		Obtained: time.Now(),
	}, nil
}

// signedAt is when a request was signed: when its condition Ready changed. Issuers note
// that by their own clock, in whole seconds, so that it counts only within what is known
// here: not before since, if that is not zero, and not after now. All times are by the wall
// clock, which may have been set back after since. The result has no reading of the
// monotonic clock: it is compared with times in certificates.
func signedAt(request *cmapi.CertificateRequest, since, now time.Time) time.Time {
	since, now = since.Round(0), now.Round(0)
	if since.After(now) {
		since = now
	}
	ready := condition(request, cmapi.CertificateRequestConditionReady)
	if ready == nil || ready.LastTransitionTime == nil || ready.LastTransitionTime.After(now) {
		return now
	}
	if ready.LastTransitionTime.Time.Before(since) {
		return since
	}
	return ready.LastTransitionTime.Round(0)
}

// parseChain reads status.certificate of a CertificateRequest.
func parseChain(chain []byte) ([]*x509.Certificate, error) {
	certificates, err := pemcerts.Parse(chain)
	if err != nil {
		return nil, fmt.Errorf("status.certificate: %w", err)
	}
	return certificates, nil
}

// verifyChain makes an SVID of a chain of certificates, leaf first, and the key of the
// leaf, if the leaf is what was requested and each certificate has signed the one
// before it. Whether a trust bundle verifies the chain is not asked here. A root may
// be the last of the chain.
//
// go-spiffe has a check for those who have the key as bytes, and no other. To read a
// key back from bytes its public part is computed anew, which with P-521 takes a
// millisecond. It does not look at signatures, nor at names beside the URI: verifyChain is
// stricter, and a test holds it never to be more lenient.
func (l *verifiedLinks) verifyChain(chain []*x509.Certificate, id spiffeid.ID, key crypto.Signer) (*x509svid.SVID, error) {
	if len(chain) > longestChain {
		return nil, fmt.Errorf("the chain has %d certificates, at most %d are taken: the issuer must return the leaf and what has signed it", len(chain), longestChain)
	}
	if err := checkLeaf(chain[0], id, key); err != nil {
		return nil, fmt.Errorf("certificate 1 of %d: %w", len(chain), err)
	}
	for i, parent := range chain[1:] {
		if err := l.checkLink(chain[i], parent, i > 0); err != nil {
			return nil, fmt.Errorf("certificate %d of %d: %w", i+2, len(chain), err)
		}
	}
	return &x509svid.SVID{ID: id, Certificates: chain, PrivateKey: key}, nil
}

// checkLink checks that parent is a CA that has signed child. The links above a leaf
// are the same from one request to the next, and are remembered.
func (l *verifiedLinks) checkLink(child, parent *x509.Certificate, remember bool) error {
	switch {
	case !parent.IsCA:
		return errors.New("signing certificate must have CA flag set to true")
	case parent.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("signing certificate must have 'keyCertSign' set as key usage")
	case !bytes.Equal(child.RawIssuer, parent.RawSubject):
		return fmt.Errorf("its subject is %+.120q, and the certificate before it was issued by %+.120q: the issuer must return each certificate followed by the one that has signed it",
			parent.Subject.String(), child.Issuer.String())
	case isOversized(parent):
		return fmt.Errorf("its RSA key is longer than %d bits, the most that is taken", longestRSA)
	case remember && l.has(child, parent):
		return nil
	}
	if err := child.CheckSignatureFrom(parent); err != nil {
		return fmt.Errorf("%q has not signed the certificate before it: %w: the issuer must return each certificate followed by the one that has signed it", parent.Subject.String(), err)
	}
	if remember {
		l.add(child, parent)
	}
	return nil
}

// longestRSA is how many bits an RSA key may have with which a certificate is signed: as many
// as crypto/tls takes from peers. The time to verify a signature grows with the square, and
// with one key that fills status.certificate it is half a minute of CPU time.
const longestRSA = 8192

// isOversized reports whether a certificate has an RSA key that is longer than that.
func isOversized(certificate *x509.Certificate) bool {
	key, ok := certificate.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() > longestRSA
}

func linkOf(child, parent *x509.Certificate) link {
	return link{sha256.Sum256(child.Raw), sha256.Sum256(parent.Raw)}
}

func (l *verifiedLinks) has(child, parent *x509.Certificate) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.links[linkOf(child, parent)]
	return known
}

func (l *verifiedLinks) add(child, parent *x509.Certificate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.links == nil || len(l.links) >= mostLinks {
		l.links = map[link]struct{}{}
	}
	l.links[linkOf(child, parent)] = struct{}{}
}

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
