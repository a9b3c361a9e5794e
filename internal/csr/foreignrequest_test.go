// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/corpus"
)

func TestCheckForeign(t *testing.T) {
	t.Parallel()
	dns := csrtest.Names(csrtest.Element(0x82, []byte("example.org")))
	with := func(mutations ...csrtest.Mutation) []byte {
		return csrtest.Good(csrtest.MainKey()).With(append([]csrtest.Mutation{dns}, mutations...)...).PEM()
	}
	names := func(names ...[]byte) []byte { return with(csrtest.Names(names...)) }
	text := func(s string) []byte { return csrtest.Element(0x0c, []byte(s)) }
	for name, test := range map[string]struct {
		request []byte
		want    error
	}{
		"a DNS name":                    {with(), nil},
		"a common name":                 {with(csrtest.SubjectAttribute("example.org", 2, 5, 4, 3)), nil},
		"no names":                      {with(func(t *csrtest.Template) { t.Extensions = []pkix.Extension{} }), nil},
		"a CA":                          {with(csrtest.Extend(true, csrtest.Sequence([]byte{1, 1, 0xff}), 2, 5, 29, 19)), nil},
		"a challenge password":          {with(csrtest.AlsoAttribute(text("secret"), 1, 2, 840, 113549, 1, 9, 7)), nil},
		"a URI of another scheme":       {names(csrtest.URI("https://example.org/spiffe")), nil},
		"a directory name":              {names(csrtest.Element(0xa4, csrtest.Sequence())), nil},
		"a SPIFFE ID":                   {names(csrtest.URI(csrtest.ID)), csr.ErrCarriesSPIFFE},
		"a SPIFFE ID elsewhere":         {names(csrtest.URI("spiffe://other.domain/x")), csr.ErrCarriesSPIFFE},
		"a SPIFFE ID beside a DNS name": {names(csrtest.Element(0x82, []byte("a.b")), csrtest.URI(csrtest.ID)), csr.ErrCarriesSPIFFE},
		"an upper-case scheme":          {names(csrtest.URI("SPIFFE://my.trust.domain/x")), csr.ErrCarriesSPIFFE},
		"no authority":                  {names(csrtest.URI("spiffe:x")), csr.ErrCarriesSPIFFE},
		"as a DNS name":                 {names(csrtest.Element(0x82, []byte(csrtest.ID))), csr.ErrCarriesSPIFFE},
		"under another tag class":       {names(csrtest.Element(0xc6, []byte(csrtest.ID))), csr.ErrCarriesSPIFFE},
		"in the common name":            {with(csrtest.SubjectAttribute(csrtest.ID, 2, 5, 4, 3)), csr.ErrCarriesSPIFFE},
		"in an unknown extension":       {with(csrtest.Extend(false, text(csrtest.ID), 1, 3, 6, 1, 4, 1, 99999)), csr.ErrCarriesSPIFFE},
		"in an attribute":               {with(csrtest.AlsoAttribute(text(csrtest.ID), 1, 3, 6, 1, 4, 1, 311, 2, 1, 14)), csr.ErrCarriesSPIFFE},
		"in pieces":                     {names(csrtest.Element(0xa6, csrtest.Element(0x16, []byte("spif")), csrtest.Element(0x16, []byte("fe://td/x")))), csr.ErrSANType},
		"in pieces in an attribute":     {with(csrtest.AlsoAttribute(csrtest.Sequence(csrtest.Sequence(csrtest.OID(2, 5, 29, 17), csrtest.Element(0x04, csrtest.Sequence(csrtest.Element(0xa6, csrtest.Element(0x16, []byte("spif")), csrtest.Element(0x16, []byte("fe://td/x"))))))), 1, 3, 6, 1, 4, 1, 311, 2, 1, 14)), csr.ErrAttribute},
		"two extension requests": {with(func(t *csrtest.Template) {
			t.Attributes = [][]byte{csrtest.ExtensionRequest(t.Extensions), csrtest.ExtensionRequest(nil)}
		}), csr.ErrRepeatedAttribute},
		"a second value":                 {with(func(t *csrtest.Template) { t.Attributes = [][]byte{csrtest.ExtensionRequest(t.Extensions, nil)} }), csr.ErrDER},
		"a tag that no name has":         {names(csrtest.Element(0xc2, []byte("example.org"))), csr.ErrSANType},
		"two subject alternative names":  {with(csrtest.Extend(true, csrtest.Sequence(csrtest.URI(csrtest.ID)), 2, 5, 29, 17)), csr.ErrCarriesSPIFFE},
		"names are not a sequence":       {with(func(t *csrtest.Template) { t.Extensions[0].Value = asn1.NullBytes }), csr.ErrDER},
		"empty":                          {nil, csr.ErrPEM},
		"not PEM":                        {[]byte("hello"), csr.ErrPEM},
		"two blocks, the second SPIFFE":  {append(with(), csrtest.Good(csrtest.MainKey()).PEM()...), csr.ErrPEMBlocks},
		"a SPIFFE ID in front":           {append([]byte("spiffe://x/y\n"), with()...), csr.ErrPEM},
		"a byte behind the DER":          {with(csrtest.Wrapped(func(der []byte) []byte { return csrtest.Block(append(der, 0)) })), csr.ErrDER},
		"not a request within the block": {csrtest.Block([]byte("x")), csr.ErrDER},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := csr.CheckForeign(test.request); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// Whatever passes for a request of another kind, cert-manager's CA issuer makes no
// certificate of it that go-spiffe takes for an SVID. Most of the corpus does not
// pass; what does is about something else than a SPIFFE ID.
func TestCheckForeignLetsNoSVIDThrough(t *testing.T) {
	t.Parallel()
	issuer, err := corpus.NewIssuer()
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, file := range requests(t) {
		if csr.CheckForeign(file.Request.Spec.Request) == nil {
			passed++
			requireNoSVID(t, issuer, file.Request.Spec.Request)
		}
	}
	if total := len(requests(t)); passed == 0 || passed > total/10 {
		t.Errorf("%d of %d requests pass", passed, total)
	}
}

// FuzzCheckForeign signs what it made up, as FuzzParseSigned does.
func FuzzCheckForeign(f *testing.F) {
	addSigned(f)
	f.Add(0, []byte{0x30, 0}, csrtest.ExtensionRequest([]pkix.Extension{csrtest.SAN(csrtest.Element(0x82, []byte("example.org")))}), []byte{})
	issuer, err := corpus.NewIssuer()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, version int, subject, attributes, after []byte) {
		input := csrtest.Good(csrtest.MainKey()).With(csrtest.Attributes(attributes), func(t *csrtest.Template) {
			t.Version, t.Subject, t.AfterInfo = version, subject, after
		}).PEM()
		if csr.CheckForeign(input) == nil {
			requireNoSVID(t, issuer, input)
		}
	})
}

func requireNoSVID(t *testing.T, issuer *corpus.Issuer, request []byte) {
	t.Helper()
	chain, err := issuer.Issue(cmapi.CertificateRequestSpec{Request: request, IsCA: false})
	if err != nil {
		return
	}
	block, _ := pem.Decode(chain)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := x509svid.IDFromCert(certificate); err == nil {
		t.Fatalf("it becomes an SVID for %s:\n%s", id, request)
	}
	if bytes.Contains(bytes.ToLower(block.Bytes), []byte("spiffe:")) {
		t.Fatalf("the certificate speaks of SPIFFE:\n%s", request)
	}
}

func TestCheckNotCA(t *testing.T) {
	t.Parallel()
	with := func(value []byte, oid ...int) []byte {
		dns := csrtest.Names(csrtest.Element(0x82, []byte("example.org")))
		return csrtest.Good(csrtest.MainKey()).With(dns, csrtest.Extend(true, value, oid...)).PEM()
	}
	constraints := func(value []byte) []byte { return with(value, 2, 5, 29, 19) }
	usage := func(bits ...byte) []byte { return with(csrtest.Element(3, bits), 2, 5, 29, 15) }
	for name, test := range map[string]struct {
		request []byte
		want    error
	}{
		"no constraints and no usage":             {csrtest.Good(csrtest.MainKey()).PEM(), nil},
		"constraints: not a CA":                   {constraints(csrtest.Sequence()), nil},
		"constraints: not a CA, spelled out":      {constraints(csrtest.Sequence([]byte{1, 1, 0})), nil},
		"constraints: a CA":                       {constraints(csrtest.Sequence([]byte{1, 1, 0xff})), csr.ErrAsksForCA},
		"constraints: a CA, in the manner of BER": {constraints(csrtest.Sequence([]byte{1, 1, 1})), csr.ErrAsksForCA},
		"constraints: a CA of path length 0":      {constraints(csrtest.Sequence([]byte{1, 1, 0xff}, []byte{2, 1, 0})), csr.ErrAsksForCA},
		"constraints: a path length alone":        {constraints(csrtest.Sequence([]byte{2, 1, 0})), csr.ErrAsksForCA},
		"constraints: trailing byte":              {constraints(append(csrtest.Sequence(), 0)), csr.ErrAsksForCA},
		"constraints: not a sequence":             {constraints(asn1.NullBytes), csr.ErrAsksForCA},
		"usage: digital signature":                {usage(7, 0x80), nil},
		"usage: none":                             {usage(0), nil},
		"usage: certificates":                     {usage(2, 0x04), csr.ErrAsksForCA},
		"usage: revocation lists":                 {usage(1, 0x02), csr.ErrAsksForCA},
		"usage: all":                              {usage(0, 0xff, 0x80), csr.ErrAsksForCA},
		"usage: not a bit string":                 {with(asn1.NullBytes, 2, 5, 29, 15), csr.ErrAsksForCA},
		"not a request":                           {[]byte("?"), csr.ErrPEM},
	} {
		if err := csr.CheckNotCA(test.request); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}
