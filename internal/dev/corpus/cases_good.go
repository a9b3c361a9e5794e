// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"slices"
	"strings"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// Sources that several cases have.
const (
	leafCertificates = "X.509-SVID standard, section 3.1"
	spiffeID         = "X.509-SVID standard, section 2"
	rfc7468          = "RFC 7468, section 2"
)

func (in maker) good() []Case {
	longest := strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 61)
	wrapped := func(name, why, source string, wrap func(der []byte) []byte) Case {
		return in.csr(name, nil, why, source, csrtest.Wrapped(wrap))
	}
	account := func(name, why, namespace, account string) Case {
		c := in.csr(name, nil, why, "", csrtest.Names(csrtest.URI("spiffe://my.trust.domain/ns/"+namespace+"/sa/"+account)))
		c.Meta.Namespace = namespace
		c.Spec.Username, c.Spec.Groups = "system:serviceaccount:"+namespace+":"+account, groupsOf(namespace)
		return c
	}
	return []Case{
		in.csr("as-the-driver-makes-it", nil, "What csr.Build makes: an empty subject and one critical subject alternative name extension with one URI, the SPIFFE ID.", leafCertificates),
		in.csr("usages", nil, "Key usage and extended key usage say in the request what spec.usages says beside it.", "X.509-SVID standard, sections 4.3 and 4.4",
			bothUsages(), bothPurposes()),
		in.csr("usages-before-san", nil, "The order of extensions means nothing.", "", func(t *csrtest.Template) {
			bothUsages()(t)
			bothPurposes()(t)
			slices.Reverse(t.Extensions)
		}),
		wrapped("pem-crlf", "Line breaks of another system.", rfc7468, func(der []byte) []byte {
			return bytes.ReplaceAll(csrtest.Block(der), []byte("\n"), []byte("\r\n"))
		}),
		wrapped("pem-blank-lines-around", "White space around the block, and nothing else.", rfc7468, func(der []byte) []byte {
			return concat("\n\r\n", csrtest.Block(der), "\n \n")
		}),
		wrapped("pem-one-line", "All of the base64 text in one line.", rfc7468, func(der []byte) []byte {
			return concat("-----BEGIN CERTIFICATE REQUEST-----\n", base64.StdEncoding.EncodeToString(der), "\n-----END CERTIFICATE REQUEST-----\n")
		}),
		wrapped("pem-largest", "As many bytes as are looked at, all but a few of them line breaks.", "", func(der []byte) []byte {
			block := csrtest.Block(der)
			return concat(block, bytes.Repeat([]byte("\n"), csr.MaxSize-len(block)))
		}),
		account("name-longest", "The longest namespace and ServiceAccount that Kubernetes has.", strings.Repeat("n", 63), longest),
		account("name-digits", "Namespace and ServiceAccount of one digit.", "0", "1"),
		account("name-with-dots", "A ServiceAccount's name is a DNS subdomain and may have dots.", "sandbox", "a.b-c.d"),
		account("name-like-the-path", "A ServiceAccount called sa in a namespace called ns.", "ns", "sa"),
		in.spec("usages-in-another-order", nil, "The order of spec.usages means nothing.", "", func(spec *cmapi.CertificateRequestSpec) { slices.Reverse(spec.Usages) }),
		in.spec("issuer-group-empty", nil, "An empty group means cert-manager.io, so this is our issuer.", "cert-manager v1.20, pkg/apis/meta/v1, IssuerReference",
			func(spec *cmapi.CertificateRequestSpec) { spec.IssuerRef.Group = "" }),
	}
}

// goodKeys has a request for each key that a policy can demand.
func (in maker) goodKeys() []Case {
	otherOrder := in.csr("usages-client-first", nil, "Usages may be in any order, as long as spec.usages has the same one: cert-manager compares it.", "X.509-SVID standard, section 4.4",
		bothUsages(), csrtest.Extend(false, csrtest.Sequence(clientAuth(), serverAuth()), 2, 5, 29, 37))
	slices.Reverse(otherOrder.Spec.Usages)
	cases := []Case{
		in.csr("usages-key-usage-not-critical", nil, "Whether key usage is critical in the certificate is for the issuer to say, and it always is.", "X.509-SVID standard, section 4.3",
			csrtest.Extend(false, keyUsages(5, 0xa0), 2, 5, 29, 15), bothPurposes()),
		in.csr("usages-ext-key-usage-critical", nil, "Extended key usage may be critical.", "X.509-SVID standard, section 4.4",
			bothUsages(), csrtest.Extend(true, csrtest.Sequence(serverAuth(), clientAuth()), 2, 5, 29, 37)),
		otherOrder,
		in.csr("signature-ecdsa-sha384", nil, "A longer digest than the curve needs.", "RFC 5758, section 3.2",
			csrtest.SignedWith(crypto.SHA384, csrtest.OID(1, 2, 840, 10045, 4, 3, 3))),
		in.csr("signature-ecdsa-sha512", nil, "A longer digest than the curve needs.", "RFC 5758, section 3.2",
			csrtest.SignedWith(crypto.SHA512, csrtest.OID(1, 2, 840, 10045, 4, 3, 4))),
		in.csrBy(in.keys.ByName["rsa-2048"], "signature-rsa-sha384", nil, "RSA with SHA-384.", "RFC 8017, appendix A.2.4",
			csrtest.SignedWith(crypto.SHA384, csrtest.OID(1, 2, 840, 113549, 1, 1, 12), asn1.NullBytes)),
		in.csrBy(in.keys.ByName["rsa-2048"], "signature-rsa-sha512", nil, "RSA with SHA-512.", "RFC 8017, appendix A.2.4",
			csrtest.SignedWith(crypto.SHA512, csrtest.OID(1, 2, 840, 113549, 1, 1, 13), asn1.NullBytes)),
	}
	for name, key := range in.keys.ByName {
		cases = append(cases, in.csrBy(key, "key-"+name, nil, "A key of the kind and size that this file's policy demands: "+in.keys.Spec(name).String()+".", ""))
	}
	return cases
}

// typed returns what wraps a request in a PEM block of another type.
func typed(name string) func([]byte) []byte {
	return func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: name, Bytes: der}) }
}

// longID returns an ID of our trust domain that has n bytes in all.
func longID(n int) string {
	id := csrtest.ID + "/"
	return id + strings.Repeat("a", n-len(id))
}

const maxID = spiffe.MaxIDLength
