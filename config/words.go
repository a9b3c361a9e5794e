// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxQuoted is how many characters of a value are shown.
const maxQuoted = 64

// wrong puts a message together: what is wrong (got …), what is allowed.
func wrong(problem, got, allowed string) string {
	return problem + " (got " + got + "), " + allowed
}

// quote shows a string safely: in one line, of limited length. What is cut off
// is marked by dots. Nothing beyond the first line is shown: should it be a key
// that was pasted into the wrong file, its header is enough to find it.
func quote(s string) string {
	cut := s
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		cut = s[:i]
	}
	if runes := []rune(cut); len(runes) > maxQuoted {
		cut = string(runes[:maxQuoted])
	}
	if cut != s {
		return strconv.Quote(cut) + "…"
	}
	return strconv.Quote(s)
}

// shorten shows what needs no quotes, and quotes the rest.
func shorten(s string) string {
	if len(s) <= maxQuoted && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return s
	}
	return quote(s)
}

// short is a duration without the zeros that Go's form of it ends in: 1h, not
// 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var simpleName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// quoteName shows the name of a field, which a file can make up.
func quoteName(name string) string {
	if simpleName.MatchString(name) {
		return name
	}
	return quote(name)
}

// oneOf makes "A", "A or B", "one of A, B or C".
func oneOf(words []string) string {
	last := len(words) - 1
	switch last {
	case 0:
		return words[0]
	case 1:
		return words[0] + " or " + words[1]
	default:
		return "one of " + strings.Join(words[:last], ", ") + " or " + words[last]
	}
}
