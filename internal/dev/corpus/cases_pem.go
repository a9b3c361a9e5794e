// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

const pkcs10Text = "RFC 7468, section 7"

func (in maker) pem() []Case {
	wrap := func(name string, want error, why, source string, wrap func(der []byte) []byte) Case {
		return in.csr("pem-"+name, is(want), why, source, csrtest.Wrapped(wrap))
	}
	others := csrtest.Good(in.keys.Main).With(csrtest.Names(csrtest.URI(admin))).PEM()
	return []Case{
		in.spec("request-absent", is(csr.ErrPEM), "There is no PKCS #10 request.", "", func(spec *cmapi.CertificateRequestSpec) { spec.Request = nil }),
		wrap("empty", csr.ErrPEM, "White space only.", rfc7468, func([]byte) []byte { return []byte("\n") }),
		wrap("der-only", csr.ErrPEM, "The DER encoding, without the text around it.", rfc7468, func(der []byte) []byte { return der }),
		wrap("base64-only", csr.ErrPEM, "Base64 text without the lines around it.", rfc7468, func(der []byte) []byte {
			return []byte(base64.StdEncoding.EncodeToString(der))
		}),
		wrap("text-before", csr.ErrPEM, "Text before the block, which some readers skip and others show to people.", "RFC 7468, section 5.2", func(der []byte) []byte {
			return concat("subject=/CN=harmless\n", csrtest.Block(der))
		}),
		wrap("text-after", csr.ErrPEM, "A letter behind the block.", rfc7468, func(der []byte) []byte { return concat(csrtest.Block(der), "x") }),
		wrap("nul-after", csr.ErrPEM, "A NUL behind the block, where C's strings end.", rfc7468, func(der []byte) []byte { return concat(csrtest.Block(der), "\x00") }),
		wrap("byte-order-mark", csr.ErrPEM, "A byte order mark before the block.", rfc7468, func(der []byte) []byte { return concat("\ufeff", csrtest.Block(der)) }),
		wrap("space-within", csr.ErrPEM, "A space within the base64 text.", "RFC 7468, section 3", func(der []byte) []byte {
			return bytes.Replace(csrtest.Block(der), []byte("-----\nM"), []byte("-----\n M"), 1)
		}),
		wrap("base64-url", csr.ErrPEM, "The other base64 alphabet, for URLs.", "RFC 4648, section 4", func(der []byte) []byte {
			first, rest, _ := bytes.Cut(csrtest.Block(der), []byte("\n"))
			rest, last, _ := bytes.Cut(rest, []byte("-----END"))
			rest = bytes.ReplaceAll(bytes.ReplaceAll(rest, []byte("+"), []byte("-")), []byte("/"), []byte("_"))
			return concat(first, "\n", rest, "-----END", last)
		}),
		in.csrBy(in.keys.ByName["ed25519"], "pem-base64-spare-bits", is(csr.ErrPEM), "The last character has bits set that no byte takes up: the same request, written in another way.", "RFC 4648, section 3.5", csrtest.Wrapped(spareBits)),
		wrap("dashes-unicode", csr.ErrPEM, "Dashes that look like hyphens.", rfc7468, func(der []byte) []byte {
			return bytes.ReplaceAll(csrtest.Block(der), []byte("-"), []byte("\u2010"))
		}),
		wrap("end-of-another-type", csr.ErrPEM, "The block ends as one of another type.", rfc7468, func(der []byte) []byte {
			return bytes.Replace(csrtest.Block(der), []byte("END CERTIFICATE REQUEST"), []byte("END CERTIFICATE"), 1)
		}),
		wrap("unfinished-block-before", csr.ErrPEM, "A first line without the rest, before the block: readers differ in what they make of it.", rfc7468, func(der []byte) []byte {
			return concat("-----BEGIN CERTIFICATE REQUEST-----\n", csrtest.Block(der))
		}),
		wrap("cut-short", csr.ErrPEM, "The last lines are missing.", rfc7468, func(der []byte) []byte { return csrtest.Block(der)[:200] }),
		wrap("too-large", csr.ErrTooLarge, "One byte more than is looked at. cert-manager reads little more.", "cert-manager v1.20, internal/pem", func(der []byte) []byte {
			block := csrtest.Block(der)
			return concat(block, bytes.Repeat([]byte("\n"), csr.MaxSize+1-len(block)))
		}),
		wrap("too-large-contents", csr.ErrTooLarge, "A block of 100 KB: whoever reads on pays for it.", "cert-manager v1.20, internal/pem", func([]byte) []byte {
			return csrtest.Block(make([]byte, 100<<10))
		}),
		wrap("two-blocks", csr.ErrPEMBlocks, "The same block twice.", pkcs10Text, func(der []byte) []byte { return concat(csrtest.Block(der), csrtest.Block(der)) }),
		wrap("two-blocks-second-for-another", csr.ErrPEMBlocks, "A good request, and behind it one for somebody else's ID: readers differ in which they take.", pkcs10Text,
			func(der []byte) []byte { return concat(csrtest.Block(der), others) }),
		wrap("two-blocks-first-for-another", csr.ErrPEMBlocks, "A request for somebody else's ID, and behind it a good one.", pkcs10Text,
			func(der []byte) []byte { return concat(others, csrtest.Block(der)) }),
		wrap("certificate-behind", csr.ErrPEMBlocks, "A block of another type behind the request.", pkcs10Text, func(der []byte) []byte {
			return concat(csrtest.Block(der), typed("CERTIFICATE")(der))
		}),
		wrap("type-new", csr.ErrPEMType, "The type that old programs write. Readers may take it; writers must not make it.", pkcs10Text, typed("NEW CERTIFICATE REQUEST")),
		wrap("type-certificate", csr.ErrPEMType, "A request that is called a certificate.", pkcs10Text, typed("CERTIFICATE")),
		wrap("type-private-key", csr.ErrPEMType, "A request that is called a private key.", pkcs10Text, typed("PRIVATE KEY")),
		wrap("type-lower-case", csr.ErrPEMType, "The type in lower case.", rfc7468, typed("certificate request")),
		wrap("type-empty", csr.ErrPEMType, "A block without type.", rfc7468, typed("")),
		wrap("headers", csr.ErrPEMHeaders, "A header within the block, where nothing of today has any.", rfc7468, withHeaders("Comment", "harmless")),
		wrap("headers-encrypted", csr.ErrPEMHeaders, "The header of RFC 1421 that says the contents are encrypted.", rfc7468, withHeaders("Proc-Type", "4,ENCRYPTED")),
	}
}

func withHeaders(key, value string) func([]byte) []byte {
	return func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Headers: map[string]string{key: value}, Bytes: der})
	}
}

// spareBits changes the last character before the padding, whose lower bits
// stand for nothing.
func spareBits(der []byte) []byte {
	text, end, padded := bytes.Cut(csrtest.Block(der), []byte("=\n-----END"))
	if !padded {
		panic("corpus: this request has a length that leaves no bits to spare")
	}
	before, pad := bytes.TrimRight(text, "="), text[len(bytes.TrimRight(text, "=")):]
	before[len(before)-1]++
	return concat(before, pad, "=\n-----END", end)
}
