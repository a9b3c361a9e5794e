// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

const (
	pkcs10     = "RFC 2986, section 4.2"
	pkcs10Info = "RFC 2986, section 4.1"
	derLength  = "X.690, section 10.1"
)

func (in maker) der() []Case {
	wrap := func(name, why, source string, wrap func(der []byte) []byte) Case {
		return in.csr("der-"+name, is(csr.ErrDER), why, source, csrtest.Wrapped(func(der []byte) []byte { return csrtest.Block(wrap(der)) }))
	}
	change := func(name, why, source string, change csrtest.Mutation) Case {
		return in.csr("der-"+name, is(csr.ErrDER), why, source, change)
	}
	return []Case{
		wrap("empty", "Nothing in the block.", pkcs10, func([]byte) []byte { return nil }),
		wrap("garbage", "Text in the block.", pkcs10, func([]byte) []byte { return []byte("this is no request") }),
		wrap("trailing-byte", "A byte behind the request, within the block.", pkcs10, func(der []byte) []byte { return concat(der, "\x00") }),
		wrap("trailing-request", "A second request behind the first, within the block.", pkcs10, func(der []byte) []byte { return concat(der, der) }),
		wrap("cut-short", "The last byte is missing.", pkcs10, func(der []byte) []byte { return der[:len(der)-1] }),
		wrap("indefinite-length", "BER's indefinite length, which DER does not have.", derLength, func(der []byte) []byte {
			return concat([]byte{0x30, 0x80}, contents(der), []byte{0, 0})
		}),
		wrap("length-not-minimal", "A length in more bytes than it needs.", derLength, func(der []byte) []byte {
			body := contents(der)
			return concat([]byte{0x30, 0x84, 0, 0, byte(len(body) >> 8), byte(len(body))}, body)
		}),
		wrap("length-of-four-gigabytes", "A length far beyond the end.", derLength, func(der []byte) []byte {
			return concat([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, contents(der))
		}),
		wrap("nested-deep", "Nothing but sequences within sequences: whoever descends runs out of stack.", pkcs10, nested),
		wrap("set-not-sequence", "A set where the request is a sequence.", pkcs10, func(der []byte) []byte { return concat([]byte{0x31}, der[1:]) }),
		change("subject-length-not-minimal", "An empty subject whose length is written in two bytes.", derLength, func(t *csrtest.Template) { t.Subject = []byte{0x30, 0x81, 0x00} }),
		change("subject-indefinite-length", "An empty subject of indefinite length.", derLength, func(t *csrtest.Template) { t.Subject = []byte{0x30, 0x80, 0, 0} }),
		change("subject-absent", "The subject is left out.", pkcs10Info, func(t *csrtest.Template) { t.Subject = nil }),
		change("subject-set", "A set where the subject is a sequence.", pkcs10Info, func(t *csrtest.Template) { t.Subject = csrtest.Set() }),
		change("key-absent", "The public key is left out.", pkcs10Info, func(t *csrtest.Template) { t.PublicKey = nil }),
		change("trailing-in-info", "An element behind the attributes: crypto/x509 passes over it.", pkcs10Info, func(t *csrtest.Template) { t.AfterInfo = asn1.NullBytes }),
		change("trailing-attributes", "A second list of attributes behind the first, with somebody else's ID.", pkcs10Info, func(t *csrtest.Template) {
			t.AfterInfo = csrtest.Element(0xa0, csrtest.ExtensionRequest([]pkix.Extension{csrtest.SAN(csrtest.URI(admin))}))
		}),
		change("trailing-in-whole", "An element behind the signature.", pkcs10, func(t *csrtest.Template) { t.AfterSignature = asn1.NullBytes }),
		in.csr("version-1", is(csr.ErrVersion), "Version 1, which is not defined.", pkcs10Info, func(t *csrtest.Template) { t.Version = 1 }),
		in.csr("version-2", is(csr.ErrVersion), "Version 2, that of X.509 certificates.", pkcs10Info, func(t *csrtest.Template) { t.Version = 2 }),
		in.csr("version-negative", is(csr.ErrVersion), "Version -1.", pkcs10Info, func(t *csrtest.Template) { t.Version = -1 }),
		in.reshaped("der-version-not-minimal", is(csr.ErrDER), "Version 0 in two bytes.", "X.690, section 8.3.2", func(info [][]byte) [][]byte {
			info[0] = []byte{0x02, 0x02, 0, 0}
			return info
		}),
		in.reshaped("der-version-absent", is(csr.ErrDER), "The version is left out.", pkcs10Info, func(info [][]byte) [][]byte { return info[1:] }),
		in.reshaped("der-attributes-absent", is(csr.ErrDER), "The attributes are left out, even their empty list.", pkcs10Info, func(info [][]byte) [][]byte { return info[:3] }),
		in.reshaped("der-attributes-tag-1", is(csr.ErrDER), "The attributes are tagged [1] and not [0].", pkcs10Info, func(info [][]byte) [][]byte {
			info[3][0] = 0xa1
			return info
		}),
		in.reshaped("der-attributes-primitive", is(csr.ErrDER), "The attributes' tag says that they are no structure.", pkcs10Info, func(info [][]byte) [][]byte {
			info[3][0] = 0x80
			return info
		}),
		in.reshaped("subject-and-key-swapped", is(csr.ErrSubject, csr.ErrKey), "Public key and subject have changed places.", pkcs10Info, func(info [][]byte) [][]byte {
			info[1], info[2] = info[2], info[1]
			return info
		}),
	}
}

// reshaped makes a case whose signed part is put together in another way, and
// signed again.
func (in maker) reshaped(name string, want []error, why, source string, reshape func(info [][]byte) [][]byte) Case {
	return in.csr(name, want, why, source, csrtest.Reshaped(reshape))
}

// contents returns what is in an element.
func contents(der []byte) []byte {
	var element asn1.RawValue
	must(asn1.Unmarshal(der, &element))
	return element.Bytes
}

func nested([]byte) []byte {
	der := bytes.Repeat([]byte{0x30, 0x80}, 4000)
	return append(der, bytes.Repeat([]byte{0, 0}, 4000)...)
}
