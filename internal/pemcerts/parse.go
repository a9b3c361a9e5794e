// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package pemcerts

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNone means that the data has no PEM block at all.
	ErrNone = errors.New("there is no certificate in PEM")
	// ErrPrivateKey means that there is a private key in the data, or what is left
	// of one. It takes precedence over every other error.
	ErrPrivateKey = errors.New("it is a private key")
	// ErrType means that there is a PEM block that is neither of type CERTIFICATE nor
	// a private key.
	ErrType = errors.New("only CERTIFICATE blocks are allowed")
	// ErrDamaged means that a PEM block is incomplete or not base64, or that there is
	// something outside the blocks that is neither white space nor a comment.
	ErrDamaged = errors.New("a PEM block is damaged or cut short")
	// ErrNotCertificate means that a CERTIFICATE block holds something other than
	// exactly one certificate.
	ErrNotCertificate = errors.New("it is not a certificate")
)

const (
	certificateType = "CERTIFICATE"
	beginMark       = "-----BEGIN "
	endMark         = "-----END "
	markEnd         = "-----"
	byteOrderMark   = "\ufeff"
)

// Parse returns the certificates of CERTIFICATE blocks in PEM (RFC 7468 section 5),
// in their order, or an error that wraps one of those above. The error names the
// block, counted from 1, and the line, and never quotes the data, which might be a
// key.
//
// Lines may end in LF or CRLF, and headers in a block are ignored, as is a byte order
// mark at the beginning of a line. Outside the blocks there may be white space and
// comments: lines that begin with #, and other text that cannot be part of a block
// (section 2): it neither begins nor ends with a hyphen, and is not base64 as long as
// a line of a block.
func Parse(data []byte) ([]*x509.Certificate, error) {
	certificates, err := parse(data)
	if err == nil {
		return certificates, nil
	}
	if at := bytes.Index(data, []byte("PRIVATE KEY"+markEnd)); at >= 0 && !errors.Is(err, ErrPrivateKey) {
		return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(data[:at], []byte("\n")), ErrPrivateKey)
	}
	return nil, err
}

func parse(data []byte) ([]*x509.Certificate, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, fmt.Errorf("%w: the text is UTF-16, it must be UTF-8", ErrNone)
	}
	if !bytes.Contains(data, []byte(beginMark)) {
		return nil, ErrNone
	}
	var certificates []*x509.Certificate
	r := reader{rest: data}
	for r.next() {
		if !bytes.HasPrefix(r.line, []byte(beginMark)) {
			if reason := whyNoComment(r.line); reason != "" {
				return nil, fmt.Errorf("line %d: %w: %s", r.number, ErrDamaged, reason)
			}
			continue
		}
		first := r.number
		certificate, err := r.block()
		if err != nil {
			return nil, fmt.Errorf("block %d (line %d): %w", len(certificates)+1, first, err)
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, ErrNone
	}
	return certificates, nil
}

// reader goes through data line by line.
type reader struct {
	rest []byte
	// line is the present one, without a byte order mark and white space at its end.
	line []byte
	// number counts lines from 1.
	number int
}

// next goes to the next line, and reports whether there is one.
func (r *reader) next() bool {
	if len(r.rest) == 0 {
		return false
	}
	r.line, r.rest, _ = bytes.Cut(r.rest, []byte("\n"))
	r.line = bytes.TrimPrefix(bytes.TrimRight(r.line, " \t\r"), []byte(byteOrderMark))
	r.number++
	return true
}

// block reads a block whose first line is the present one.
func (r *reader) block() (*x509.Certificate, error) {
	label, ok := bytes.CutSuffix(r.line[len(beginMark):], []byte(markEnd))
	if !ok || bytes.Contains(label, []byte(markEnd)) {
		return nil, fmt.Errorf("%w: its first line must be %s%s%s and nothing else", ErrDamaged, beginMark, certificateType, markEnd)
	}
	if err := checkLabel(string(label)); err != nil {
		return nil, err
	}
	body, err := r.body()
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCertificate, err)
	}
	return certificate, nil
}

// checkLabel checks the type of a block. It quotes only what looks like one.
func checkLabel(label string) error {
	const most = 40
	readable := len(label) <= most && strings.Trim(label, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ") == ""
	switch {
	case label == certificateType:
		return nil
	case strings.HasSuffix(label, "PRIVATE KEY") && readable:
		return fmt.Errorf("%w: it is of type %q", ErrPrivateKey, label)
	case strings.HasSuffix(label, "PRIVATE KEY"):
		return ErrPrivateKey
	case readable:
		return fmt.Errorf("it is of type %q, %w", label, ErrType)
	default:
		return fmt.Errorf("it is of another type, %w", ErrType)
	}
}

// body reads the lines of a block that follow the first, up to its last, and returns
// what they encode.
func (r *reader) body() ([]byte, error) {
	first, start, length := r.number+1, r.rest, 0
	for headers := true; r.next(); {
		switch {
		case bytes.HasPrefix(r.line, []byte(endMark)):
			if string(r.line) != endMark+certificateType+markEnd {
				return nil, fmt.Errorf("%w: line %d must be %s%s%s and nothing else", ErrDamaged, r.number, endMark, certificateType, markEnd)
			}
			return decode(start[:length], first)
		case bytes.HasPrefix(r.line, []byte(beginMark)):
			return nil, fmt.Errorf("%w: another block begins at line %d, before this one has ended", ErrDamaged, r.number)
		case headers && bytes.ContainsRune(r.line, ':'):
			first, start = r.number+1, r.rest
		default:
			headers = false
			length = len(start) - len(r.rest)
		}
	}
	return nil, fmt.Errorf("%w: it has no last line, %s%s%s", ErrDamaged, endMark, certificateType, markEnd)
}

// decode decodes the lines of base64 of which the first has a number. White space in
// them is ignored.
func decode(body []byte, first int) ([]byte, error) {
	if bytes.ContainsAny(body, " \t") {
		body = bytes.ReplaceAll(bytes.ReplaceAll(body, []byte(" "), nil), []byte("\t"), nil)
	}
	der := make([]byte, base64.StdEncoding.DecodedLen(len(body)))
	n, err := base64.StdEncoding.Decode(der, body)
	if err == nil {
		return der[:n], nil
	}
	for line := range bytes.Lines(body) {
		if !isBase64(bytes.TrimRight(line, "=\r\n")) {
			return nil, fmt.Errorf("%w: line %d is not base64", ErrDamaged, first)
		}
		first++
	}
	return nil, fmt.Errorf("%w: characters of its base64 are missing", ErrDamaged)
}

// isBase64 reports whether text is of the alphabet of base64. Padding is not.
func isBase64(text []byte) bool {
	for _, c := range text {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '+', c == '/':
		default:
			return false
		}
	}
	return true
}

// blockLine is from which length on a line of base64 is taken for one of a block.
// Encoders write 64 characters (RFC 7468), 76 or more; a name without blanks is
// shorter.
const blockLine = 48

// whyNoComment returns why a line outside the blocks is not taken for white space or a
// comment, or nothing. What could be a line of a block is not: the block would be lost.
func whyNoComment(line []byte) string {
	line = bytes.TrimSpace(line)
	switch {
	case len(line) == 0:
		return ""
	case bytes.Contains(line, []byte(beginMark)):
		return "a block begins within it, blocks must begin at the beginning of a line"
	case line[0] == '#':
		return ""
	case bytes.Contains(line, []byte(endMark)):
		return "a block ends there that has not begun"
	case line[0] == '-', line[len(line)-1] == '-':
		return "it may be what is left of a block; a comment that begins or ends with a hyphen must begin with #"
	case bytes.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' }):
		return "it has control characters"
	case len(line) >= blockLine && isBase64OfBlock(line) && !isHex(line):
		return "it may be what is left of a block; a comment like that must begin with #"
	default:
		return ""
	}
}

// isBase64OfBlock reports whether text is base64 with at most two characters of padding.
// A heading underlined with equals signs, as in curl's cacert.pem, is not.
func isBase64OfBlock(text []byte) bool {
	return isBase64(bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("=")), []byte("=")))
}

// isHex reports whether text is hexadecimal digits, like a fingerprint.
func isHex(text []byte) bool {
	return len(bytes.Trim(text, "0123456789abcdefABCDEF")) == 0
}
