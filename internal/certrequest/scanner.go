// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package certrequest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// bufferSize is how many bytes of JSON a scanner holds.
	bufferSize = 16 << 10
	// maxDepth is how deep values may be nested, as in encoding/json.
	maxDepth = 10000
)

var (
	errSyntax = errors.New("the API server has sent JSON with a syntax error")
	errDepth  = fmt.Errorf("the API server has sent JSON that is nested deeper than %d levels", maxDepth)
)

// scanner reads JSON from a stream, value by value, and holds no more of it than its
// buffer and the string that it is asked for.
//
// The first error is kept: after it every method does nothing and returns the zero
// value, so that callers check err once at the end. A value that is skipped is not
// checked for its syntax; only its end is found.
type scanner struct {
	src      io.Reader
	buf      []byte
	pos, end int
	depth    int
	text     []byte // the string that was read last
	err      error
}

func newScanner(src io.Reader) *scanner {
	return &scanner{src: src, buf: make([]byte, bufferSize), text: make([]byte, 0, 256)}
}

func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// fill reads on when all of the buffer has been used. It reports whether there is more.
func (s *scanner) fill() bool {
	const fruitless = 100 // as bufio does
	for range fruitless {
		if s.err != nil || s.pos < s.end {
			break
		}
		n, err := s.src.Read(s.buf)
		s.pos, s.end = 0, n
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			s.fail(err)
		}
	}
	if s.err == nil && s.pos == s.end {
		s.fail(io.ErrNoProgress)
	}
	return s.err == nil
}

// byte takes the next byte, white space included.
func (s *scanner) byte() byte {
	if s.pos == s.end && !s.fill() || s.err != nil {
		return 0
	}
	s.pos++
	return s.buf[s.pos-1]
}

// next returns the first byte of the next token, and does not take it.
func (s *scanner) next() byte {
	for s.pos < s.end && s.err == nil || s.fill() {
		switch b := s.buf[s.pos]; b {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return b
		}
	}
	return 0
}

// more reports whether there is another value in the stream, or it has ended.
func (s *scanner) more() bool {
	s.next()
	if errors.Is(s.err, io.ErrUnexpectedEOF) {
		s.err = io.EOF
	}
	return s.err == nil
}

// expect takes a token of one byte.
func (s *scanner) expect(want byte) {
	if s.next() != want {
		s.fail(errSyntax)
		return
	}
	s.pos++
}

// object calls field with each key of an object, cut to maxKey bytes. field has to take the
// value. The key is valid until then.
func (s *scanner) object(field func(key []byte, cut bool)) {
	s.list('{', '}', func() {
		if s.next() != '"' {
			s.fail(errSyntax)
			return
		}
		key, cut := s.string(maxKey)
		s.expect(':')
		if s.err == nil {
			field(key, cut)
		}
	})
}

// array calls element for each element of an array. element has to take it.
func (s *scanner) array(element func()) { s.list('[', ']', element) }

func (s *scanner) list(begin, end byte, member func()) {
	s.expect(begin)
	s.depth++
	if s.depth > maxDepth {
		s.fail(errDepth)
	}
	defer func() { s.depth-- }()
	if s.next() == end {
		s.pos++
		return
	}
	for s.err == nil {
		member()
		if s.err != nil {
			return
		}
		switch s.next() {
		case ',':
			s.pos++
		case end:
			s.pos++
			return
		default:
			s.fail(errSyntax)
		}
	}
}

// skip takes a value of any kind.
func (s *scanner) skip() {
	depth := 0
	for s.err == nil {
		switch s.next() {
		case '"':
			s.string(0)
		case '{', '[':
			s.pos++
			depth++
		case '}', ']':
			if depth == 0 {
				s.fail(errSyntax)
				return
			}
			s.pos++
			depth--
		case ',', ':':
			if depth == 0 {
				s.fail(errSyntax)
				return
			}
			s.pos++
			continue
		default:
			s.literal()
		}
		if depth == 0 {
			return
		}
	}
}

// literal takes a number, true, false or null, and returns the first bytes of it.
func (s *scanner) literal() []byte {
	const longest = 64
	s.text = s.text[:0]
	for s.err == nil {
		if s.pos == s.end && !s.fill() {
			// A literal may be the last of a stream.
			if errors.Is(s.err, io.ErrUnexpectedEOF) && len(s.text) > 0 {
				s.err = nil
			}
			break
		}
		b := s.buf[s.pos]
		if !isLiteral(b) {
			break
		}
		if len(s.text) < longest {
			s.text = append(s.text, b)
		}
		s.pos++
	}
	if len(s.text) == 0 {
		s.fail(errSyntax)
	}
	return s.text
}

func isLiteral(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || b == '-' || b == '+' || b == '.'
}

// string takes a string and returns at most limit bytes of it, without its escapes, and
// whether that is not all. It is valid until the next one is read. What is no
// UTF-8 becomes the replacement character, as in encoding/json.
func (s *scanner) string(limit int) (text []byte, cut bool) {
	s.text = s.text[:0]
	s.expect('"')
	plain := true // no byte so far that is not ASCII
	for s.pos < s.end && s.err == nil || s.fill() {
		run := s.pos
		for run < s.end && s.buf[run] != '"' && s.buf[run] != '\\' {
			plain = plain && s.buf[run] < utf8.RuneSelf
			run++
		}
		cut = s.keep(s.buf[s.pos:run], limit) || cut
		if s.pos = run; run == s.end {
			continue
		}
		s.pos++
		if s.buf[run] == '"' {
			break
		}
		cut = s.escape(limit) || cut
	}
	if s.err != nil {
		return nil, false
	}
	if !plain && !cut && !utf8.Valid(s.text) {
		s.text = replaceInvalid(s.text)
		cut = len(s.text) > limit
	}
	return s.text, cut
}

// release gives back the memory of a text that was larger than most.
func (s *scanner) release() {
	if cap(s.text) > bufferSize {
		s.text = make([]byte, 0, 256)
	}
}

// keep adds to the text, and reports whether not all of it is within the limit.
func (s *scanner) keep(b []byte, limit int) (cut bool) {
	if room := limit - len(s.text); len(b) > room {
		b, cut = b[:max(room, 0)], true
	}
	if len(s.text)+len(b) > cap(s.text) {
		s.text = slices.Grow(s.text, cap(s.text)+len(b)) // by more than append does
	}
	s.text = append(s.text, b...)
	return cut
}

func replaceInvalid(text []byte) []byte {
	replaced := make([]byte, 0, len(text)+8)
	for _, r := range string(text) {
		replaced = utf8.AppendRune(replaced, r)
	}
	return replaced
}

// keepRune does the same with a character.
func (s *scanner) keepRune(r rune, limit int) (cut bool) {
	var b [utf8.UTFMax]byte
	return s.keep(b[:utf8.EncodeRune(b[:], r)], limit)
}

// escape takes what follows a backslash, and keeps what it stands for.
func (s *scanner) escape(limit int) (cut bool) {
	switch b := s.byte(); b {
	case '"', '\\', '/':
		return s.keepRune(rune(b), limit)
	case 'b':
		return s.keepRune('\b', limit)
	case 'f':
		return s.keepRune('\f', limit)
	case 'n':
		return s.keepRune('\n', limit)
	case 'r':
		return s.keepRune('\r', limit)
	case 't':
		return s.keepRune('\t', limit)
	case 'u':
		return s.unicode(limit)
	}
	s.fail(errSyntax)
	return false
}

// unicode takes the digits of \uXXXX. Two in a row may be the halves of a surrogate
// pair; a half without the other becomes the replacement character.
func (s *scanner) unicode(limit int) (cut bool) {
	r := s.hex()
	for utf16.IsSurrogate(r) && s.take('\\') {
		if !s.take('u') {
			cut = s.keepRune(utf8.RuneError, limit)
			return s.escape(limit) || cut
		}
		second := s.hex()
		if pair := utf16.DecodeRune(r, second); pair != utf8.RuneError {
			return s.keepRune(pair, limit) || cut
		}
		cut = s.keepRune(utf8.RuneError, limit) || cut
		r = second
	}
	return s.keepRune(r, limit) || cut // EncodeRune replaces what is half a pair
}

// take takes the next byte if it is the one that is wanted.
func (s *scanner) take(want byte) bool {
	if s.pos == s.end && !s.fill() || s.err != nil || s.buf[s.pos] != want {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) hex() (r rune) {
	for range 4 {
		b := s.byte()
		switch {
		case '0' <= b && b <= '9':
			b -= '0'
		case 'a' <= b && b <= 'f':
			b -= 'a' - 10
		case 'A' <= b && b <= 'F':
			b -= 'A' - 10
		default:
			s.fail(errSyntax)
			return utf8.RuneError
		}
		r = r<<4 | rune(b)
	}
	return r
}
