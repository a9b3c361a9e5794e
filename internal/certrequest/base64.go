// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package certrequest

import (
	"encoding/base64"
	"slices"
)

// csr takes bytes, and returns at most one more than the limit, which shows that there are too many.
func (d *decoder) csr(field string, limit int) []byte {
	if !d.is(field, '"') {
		return nil
	}
	const group = 4 // characters, for three bytes
	text, cut := d.string(base64.StdEncoding.EncodedLen(limit) + group)
	if cut {
		text = text[:len(text)-len(text)%group]
	}
	data, ok := unbase64(text)
	if !ok || cut && len(data) <= limit { // line breaks, which base64 may have, are most of it
		d.lacks(field)
		return nil
	}
	return slices.Clip(data[:min(len(data), limit+1)])
}

// chain takes all of a chain of certificates, or nothing: part of one is none.
func (d *decoder) chain(field string) []byte {
	if !d.is(field, '"') {
		return nil
	}
	text, cut := d.string(base64.StdEncoding.EncodedLen(d.limits.Certificate))
	if cut {
		d.lacks(field)
		return nil
	}
	data, ok := unbase64(text)
	if !ok {
		d.lacks(field)
		return nil
	}
	return data
}

func unbase64(text []byte) (data []byte, ok bool) {
	data = make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(data, text)
	return data[:n], err == nil
}
