// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package certrequest

import (
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

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
