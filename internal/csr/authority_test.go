// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"encoding/asn1"
	"errors"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

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
