// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"encoding/pem"
	"fmt"
)

// MaxSize is the most bytes of PEM that are looked at. A request with an RSA
// 4096 key and the longest SPIFFE ID takes under six thousand; cert-manager
// v1.20 reads none over 36,500 (internal/pem, maxLeafCertificatePEMSize), and
// what is approved must be readable there.
const MaxSize = 32 << 10

const pemType = "CERTIFICATE REQUEST"

// decodePEM returns the contents of the only PEM block in data.
//
// pem.Decode, which issuers use, skips over all that it does not understand. So
// data is compared with what encoding the block again gives: whatever was
// skipped is missing there.
func decodePEM(data []byte) ([]byte, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(data), MaxSize)
	}
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%w: no block found in %d bytes", ErrPEM, len(data))
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, fmt.Errorf("%w: another one, %+.40q, follows %+.40q", ErrPEMBlocks, next.Type, block.Type)
	}
	if block.Type != pemType {
		return nil, fmt.Errorf("%w: %+.40q, must be %q", ErrPEMType, block.Type, pemType)
	}
	if len(block.Headers) > 0 {
		return nil, fmt.Errorf("%w: there are %d, none are allowed", ErrPEMHeaders, len(block.Headers))
	}
	if !bytes.Equal(unwrap(data), unwrap(pem.EncodeToMemory(block))) {
		return nil, fmt.Errorf("%w: text before, after or within it", ErrPEM)
	}
	return block.Bytes, nil
}

// unwrap takes out what may differ between encoders: line breaks, and white
// space around the whole.
func unwrap(data []byte) []byte {
	data = bytes.Trim(data, " \t\r\n")
	data = bytes.ReplaceAll(data, []byte("\r"), nil)
	return bytes.ReplaceAll(data, []byte("\n"), nil)
}
