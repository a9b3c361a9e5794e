// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

func TestCheckOther(t *testing.T) {
	t.Parallel()
	dns := csrtest.Names(csrtest.Element(0x82, []byte("example.org")))
	with := func(mutations ...csrtest.Mutation) []byte {
		return csrtest.Good(keys().Main).With(append([]csrtest.Mutation{dns}, mutations...)...).PEM()
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
		"two blocks, the second SPIFFE":  {append(with(), csrtest.Good(keys().Main).PEM()...), csr.ErrPEMBlocks},
		"a SPIFFE ID in front":           {append([]byte("spiffe://x/y\n"), with()...), csr.ErrPEM},
		"a byte behind the DER":          {with(csrtest.Wrapped(func(der []byte) []byte { return csrtest.Block(append(der, 0)) })), csr.ErrDER},
		"not a request within the block": {csrtest.Block([]byte("x")), csr.ErrDER},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := csr.CheckOther(test.request); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// None of the requests that ask for a SPIFFE ID, rightly or wrongly, passes for
// a request of another kind.
func TestCheckOtherRefusesAllThatAskForASPIFFEID(t *testing.T) {
	t.Parallel()
	for _, test := range csrtest.Cases(keys()) {
		request, faults := csr.Inspect(test.PEM)
		if !request.ID.IsZero() || len(faults) == 0 {
			if err := csr.CheckOther(test.PEM); err == nil {
				t.Errorf("%s passes", test.Name)
			}
		}
	}
}
