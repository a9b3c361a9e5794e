// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package trustbundle

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// MaxSize is the greatest size of a bundle file in bytes, 1 MiB: some five
// hundred certificates, and the most that a ConfigMap or Secret can hold.
const MaxSize = 1 << 20

// beginMark is what the first line of a PEM block begins with.
const beginMark = "-----BEGIN "

var (
	// ErrTooLarge means that the file is larger than [MaxSize].
	ErrTooLarge = errors.New("trust bundle is larger than 1 MiB, the most that is taken: leave out what no pod has to verify")
	// ErrNoCertificate means that the file has no CERTIFICATE block at all.
	ErrNoCertificate = errors.New("trust bundle has no certificate")
	// ErrPrivateKey means that there is a private key in it, which would have gone
	// to every pod.
	ErrPrivateKey = errors.New("trust bundle has a private key: take it out, and replace the key if others could read the file")
	// ErrNotCertificates means that there is something else beside them: a block
	// of another type, one that is damaged or cut short.
	ErrNotCertificates = errors.New("trust bundle has something other than certificates")
)

// Parse checks that data is a trust bundle, CERTIFICATE blocks in PEM
// (RFC 7468 section 5) with no other between them. A certificate that is there
// twice counts once. Text around the blocks is dropped (section 2), unless it
// could be what is left of a block. Of what is wrong it names the type, never the
// content: it might be a key.
func Parse(data []byte) (*Bundle, error) {
	if len(data) > MaxSize {
		return nil, ErrTooLarge
	}
	var (
		bundle Bundle
		text   bytes.Buffer
		seen   = map[string]bool{}
	)
	blocks, rest := 0, data
	for block, behind := pem.Decode(rest); block != nil; block, behind = pem.Decode(rest) {
		blocks++
		certificate, err := parseBlock(block)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", blocks, err)
		}
		if !seen[string(block.Bytes)] {
			seen[string(block.Bytes)] = true
			bundle.certificates = append(bundle.certificates, certificate)
			bundle.pem = append(bundle.pem, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
		}
		before, _, _ := bytes.Cut(rest, []byte(beginMark))
		text.Write(before)
		text.WriteByte('\n')
		rest = behind
	}
	text.Write(rest)
	// pem.Decode passes over what it cannot read in silence.
	if bytes.Count(data, []byte(beginMark)) != blocks || hasRemains(text.Bytes()) {
		return nil, fmt.Errorf("%w: a PEM block is damaged or cut short", ErrNotCertificates)
	}
	if blocks == 0 {
		return nil, ErrNoCertificate
	}
	bundle.hash = HashOf(bundle.pem)
	bundle.roots = sync.OnceValue(func() *x509.CertPool { return poolOf(bundle.certificates) })
	return &bundle, nil
}

func parseBlock(block *pem.Block) (*x509.Certificate, error) {
	if strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return nil, fmt.Errorf("%w (it is of type %q)", ErrPrivateKey, block.Type)
	}
	if block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%w: it is of type %q", ErrNotCertificates, shorten(block.Type))
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCertificates, err)
	}
	return certificate, nil
}

// hasRemains reports whether text around blocks has a line, not a comment, that
// may be part of the first or last line of one: those begin or end with hyphens.
func hasRemains(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		comment := bytes.HasPrefix(line, []byte("#"))
		if !comment && (bytes.HasPrefix(line, []byte("-")) || bytes.HasSuffix(line, []byte("-"))) {
			return true
		}
	}
	return false
}
