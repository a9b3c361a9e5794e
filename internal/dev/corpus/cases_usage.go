// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"encoding/asn1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

func serverAuth() []byte { return csrtest.OID(1, 3, 6, 1, 5, 5, 7, 3, 1) }
func clientAuth() []byte { return csrtest.OID(1, 3, 6, 1, 5, 5, 7, 3, 2) }

// keyUsages encodes a BIT STRING.
func keyUsages(unused byte, bits ...byte) []byte { return csrtest.Element(0x03, []byte{unused}, bits) }

const (
	keyUsage    = "X.509-SVID standard, section 4.3; RFC 5280, section 4.2.1.3"
	extKeyUsage = "X.509-SVID standard, section 4.4; RFC 5280, section 4.2.1.12"
)

// bothUsages and bothPurposes add the extensions of a good request.
func bothUsages() csrtest.Mutation { return csrtest.Extend(true, keyUsages(5, 0xa0), 2, 5, 29, 15) }

func bothPurposes() csrtest.Mutation {
	return csrtest.Extend(false, csrtest.Sequence(serverAuth(), clientAuth()), 2, 5, 29, 37)
}

// usageExtensions has key usages and extended key usages that an SVID must not
// have, or not alone.
func (in maker) usageExtensions() []Case {
	usage := func(name, why string, value []byte) Case {
		return in.csr("key-usage-"+name, is(csr.ErrKeyUsage), why, keyUsage, csrtest.Extend(true, value, 2, 5, 29, 15), bothPurposes())
	}
	extended := func(name, why string, value ...[]byte) Case {
		return in.csr("ext-key-usage-"+name, is(csr.ErrExtKeyUsage), why, extKeyUsage, bothUsages(), csrtest.Extend(false, concatAll(value), 2, 5, 29, 37))
	}
	purpose := func(last int) []byte { return csrtest.OID(1, 3, 6, 1, 5, 5, 7, 3, last) }
	anyPurpose := csrtest.OID(2, 5, 29, 37, 0)
	const both = "cert-manager v1.20, pkg/util/pki, CertificateTemplateValidateAndOverrideKeyUsages"
	return []Case{
		in.csr("key-usage-without-ext-key-usage", is(csr.ErrExtKeyUsage), "Half of what spec.usages says: cert-manager refuses a request that says some of it and not all.", both, bothUsages()),
		in.csr("ext-key-usage-without-key-usage", is(csr.ErrKeyUsage), "The other half of what spec.usages says.", both, bothPurposes()),
		usage("cert-sign", "keyCertSign beside the two: a key that signs certificates. Leaf SVIDs must not have it.", keyUsages(2, 0xa4)),
		usage("cert-sign-alone", "keyCertSign alone.", keyUsages(2, 0x04)),
		usage("crl-sign", "cRLSign beside the two. Leaf SVIDs must not have it.", keyUsages(1, 0xa2)),
		usage("cert-sign-and-crl-sign", "keyCertSign and cRLSign: a CA.", keyUsages(1, 0x06)),
		usage("all", "All nine bits.", keyUsages(7, 0xff, 0x80)),
		usage("none", "No bit is set, though one at least must be.", keyUsages(0)),
		usage("digital-signature-alone", "Not all that spec.usages says.", keyUsages(7, 0x80)),
		usage("key-encipherment-alone", "Without digitalSignature, which leaf SVIDs must have.", keyUsages(5, 0x20)),
		usage("content-commitment", "contentCommitment (nonRepudiation) beside the two.", keyUsages(5, 0xe0)),
		usage("data-encipherment", "dataEncipherment beside the two.", keyUsages(4, 0xb0)),
		usage("key-agreement", "keyAgreement beside the two, which spec.usages does not have.", keyUsages(3, 0xa8)),
		usage("not-minimal", "The two bits, and five zeros that DER leaves out.", keyUsages(0, 0xa0)),
		usage("trailing-element", "An element behind the bits.", concat(keyUsages(5, 0xa0), asn1.NullBytes)),
		usage("not-bits", "A number.", []byte{2, 1, 0xa0 >> 1}),
		usage("empty", "Nothing.", nil),
		extended("any", "anyExtendedKeyUsage beside the two.", csrtest.Sequence(serverAuth(), clientAuth(), anyPurpose)),
		extended("any-alone", "anyExtendedKeyUsage alone.", csrtest.Sequence(anyPurpose)),
		extended("code-signing", "Code signing beside the two.", csrtest.Sequence(serverAuth(), clientAuth(), purpose(3))),
		extended("email-protection", "E-mail beside the two.", csrtest.Sequence(serverAuth(), clientAuth(), purpose(4))),
		extended("time-stamping", "Time stamping beside the two.", csrtest.Sequence(serverAuth(), clientAuth(), purpose(8))),
		extended("ocsp-signing", "A key that says which certificates are revoked.", csrtest.Sequence(serverAuth(), clientAuth(), purpose(9))),
		extended("smart-card-logon", "Log-on to a Windows domain.", csrtest.Sequence(serverAuth(), clientAuth(), csrtest.OID(1, 3, 6, 1, 4, 1, 311, 20, 2, 2))),
		extended("unknown", "A purpose that nobody knows, beside the two.", csrtest.Sequence(serverAuth(), clientAuth(), csrtest.OID(1, 3, 6, 1, 4, 1, 99999))),
		extended("client-alone", "One of the two; when there are any, both must be.", csrtest.Sequence(clientAuth())),
		extended("server-alone", "One of the two; when there are any, both must be.", csrtest.Sequence(serverAuth())),
		extended("client-twice", "One of the two, twice.", csrtest.Sequence(clientAuth(), clientAuth())),
		extended("both-and-client-again", "The two, and one of them again.", csrtest.Sequence(serverAuth(), clientAuth(), clientAuth())),
		extended("none", "An empty list, though there must be one purpose at least.", csrtest.Sequence()),
		extended("trailing-element", "An element behind the list.", csrtest.Sequence(serverAuth(), clientAuth()), asn1.NullBytes),
		extended("not-a-list", "A purpose without list.", serverAuth()),
	}
}

func concatAll(parts [][]byte) []byte {
	var joined []byte
	for _, part := range parts {
		joined = append(joined, part...)
	}
	return joined
}
