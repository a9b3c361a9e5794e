// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strconv"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

const (
	rfc3279Key = "RFC 3279, section 2.3.1"
	fips186    = "FIPS 186-5, section 5.1"
)

// keyRSA has RSA keys that no KeySpec allows. Where only the size is in
// question, moduli are made up: nobody has the private key, nor needs it,
// because readers must refuse such a key before they try the signature. The
// policy demands RSA 2048.
func (in maker) keyRSA() []Case {
	good := in.keys.ByName["rsa-2048"].Public().(*rsa.PublicKey)
	with := func(name, why, source string, want []error, key []byte) Case {
		return in.csrBy(in.keys.ByName["rsa-2048"], "key-rsa-"+name, want, why, source, csrtest.PublicKey(key))
	}
	var cases []Case
	for _, bits := range []int{512, 1024, 2040, 2047, 2049, 2056, 8192, 16384} {
		key := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: csrtest.Odd("modulus", bits), E: 65537}))
		cases = append(cases, with(strconv.Itoa(bits), fmt.Sprintf("A modulus of %d bits: sizes are 2048, 3072 and 4096.", bits), fips186, is(csr.ErrKey, policy.ErrKey), key))
	}
	for _, exponent := range []int{3, 17, 65539, 1<<31 - 1} {
		key := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: good.N, E: exponent}))
		cases = append(cases, with(fmt.Sprintf("exponent-%d", exponent), "An unusual public exponent.", "FIPS 186-5, section 5.4", is(csr.ErrKey), key))
	}
	even := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).Sub(good.N, big.NewInt(1)), E: 65537}))
	multiple := new(big.Int).Mul(csrtest.Odd("factor", 2046), big.NewInt(3)) // of 2048 bits
	return append(cases,
		with("exponent-1", "Exponent 1, with which a signature is the message: anybody can sign.", "FIPS 186-5, section 5.4", is(csr.ErrKey), rawRSA(good.N, big.NewInt(1))),
		with("exponent-2", "An even exponent.", "FIPS 186-5, section 5.4", is(csr.ErrKey), rawRSA(good.N, big.NewInt(2))),
		with("exponent-0", "Exponent 0.", "FIPS 186-5, section 5.4", is(csr.ErrKey), rawRSA(good.N, big.NewInt(0))),
		with("exponent-negative", "A negative exponent.", "FIPS 186-5, section 5.4", is(csr.ErrKey), rawRSA(good.N, big.NewInt(-65537))),
		with("exponent-of-33-bits", "2^32+1, which is another number where integers have 32 bits.", "FIPS 186-5, section 5.4", is(csr.ErrKey), rawRSA(good.N, big.NewInt(1<<32+1))),
		with("exponent-of-256-bits", "An exponent as long as a digest.", "FIPS 186-5, section 5.4", is(csr.ErrKey), rawRSA(good.N, csrtest.Odd("exponent", 256))),
		with("modulus-even", "An even modulus: one of its factors is 2.", fips186, is(csr.ErrKey), even),
		with("modulus-divisible-by-3", "A modulus with a factor of 3: anybody can work out the private key.", "NIST SP 800-89, section 5.3.3", is(csr.ErrKey),
			must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: multiple, E: 65537}))),
		with("modulus-zero", "Modulus 0.", fips186, is(csr.ErrKey), rawRSA(big.NewInt(0), big.NewInt(65537))),
		with("modulus-negative", "A negative modulus.", fips186, is(csr.ErrKey), rawRSA(new(big.Int).Neg(good.N), big.NewInt(65537))),
		with("modulus-not-minimal", "A modulus with a zero byte more than it needs.", "X.690, section 8.3.2", is(csr.ErrKey), spki(rsaID(1), asn1.NullBytes,
			csrtest.Sequence(csrtest.Element(0x02, []byte{0, 0}, good.N.Bytes()), must(asn1.Marshal(65537))))),
		with("no-parameters", "The parameters are left out and must be NULL.", rfc3279Key, is(csr.ErrKey), spki(rsaID(1), nil, x509.MarshalPKCS1PublicKey(good))),
		with("hidden-parameters", "Text in the place of the parameters, which must be NULL.", rfc3279Key, is(csr.ErrKey),
			spki(rsaID(1), csrtest.Element(0x04, []byte("hidden")), x509.MarshalPKCS1PublicKey(good))),
		with("trailing-element", "A third number behind modulus and exponent.", rfc3279Key, is(csr.ErrKey), spki(rsaID(1), asn1.NullBytes,
			csrtest.Sequence(must(asn1.Marshal(good.N)), must(asn1.Marshal(65537)), must(asn1.Marshal(1))))),
		with("pss", "A key that is for RSA-PSS only (id-RSASSA-PSS): readers differ in whether they know it.", "RFC 4055, section 1.2", is(csr.ErrKey),
			spki(rsaID(10), nil, x509.MarshalPKCS1PublicKey(good))),
		with("pss-parameters", "A key that is for RSA-PSS with SHA-1.", "RFC 4055, section 3.1", is(csr.ErrKey), spki(rsaID(10), csrtest.Sequence(), x509.MarshalPKCS1PublicKey(good))),
		with("oaep", "A key that is for encryption only (id-RSAES-OAEP).", "RFC 4055, section 4", is(csr.ErrKey), spki(rsaID(7), csrtest.Sequence(), x509.MarshalPKCS1PublicKey(good))),
	)
}

func rsaID(last int) []byte { return csrtest.OID(1, 2, 840, 113549, 1, 1, last) }

// rawRSA encodes keys that crypto/rsa has no value for.
func rawRSA(modulus, exponent *big.Int) []byte {
	return spki(rsaID(1), asn1.NullBytes, csrtest.Sequence(must(asn1.Marshal(modulus)), must(asn1.Marshal(exponent))))
}
