// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// document returns the mapping that is the file's one document, or nil, having
// reported why there is none.
func (r *reader) document(data []byte) *yaml.Node {
	r.data = data
	if !r.checkText(data) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	err := decoder.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		r.faultAt(1, 1, "", "is empty, must be one YAML document")
		return nil
	case err != nil:
		r.syntaxFault(data, err)
		return nil
	}
	switch err := decoder.Decode(&next); {
	case err == nil:
		r.fault(&next, "", "is a second document, must be only one: remove this and all that follows")
	case !errors.Is(err, io.EOF):
		r.syntaxFault(data, err)
	}
	root := doc.Content[0]
	switch {
	case root.Kind == yaml.MappingNode:
		return root
	case isNull(root):
		r.fault(root, "", "is empty, must be one YAML document")
	default:
		r.fault(root, "", wrong("is of the wrong type", describe(root), "must be a mapping of fields"))
	}
	return nil
}

// checkText refuses what is no text, and what would take long to look at.
func (r *reader) checkText(data []byte) bool {
	if len(data) > maxSize {
		r.faultAt(1, 1, "", fmt.Sprintf("is too large, must be at most %d bytes", maxSize))
		return false
	}
	for i := 0; i < len(data); {
		char, size := utf8.DecodeRune(data[i:])
		switch {
		case char == utf8.RuneError && size == 1:
			line, column := position(data, i)
			r.faultAt(line, column, "", fmt.Sprintf("is not text (got the byte 0x%02x), must be UTF-8", data[i]))
			return false
		case isControl(char):
			line, column := position(data, i)
			r.faultAt(line, column, "", fmt.Sprintf("has a control character (got %U), must be written as an escape in double quotes", char))
			return false
		}
		i += size
	}
	return true
}

// isControl reports the characters that YAML 1.2, section 5.1, does not allow.
func isControl(char rune) bool {
	switch char {
	case '\t', '\n', '\r', 0x85:
		return false
	case 0xFFFE, 0xFFFF:
		return true
	}
	return char < 0x20 || 0x7f <= char && char < 0xa0
}

// position of the byte at offset. A byte order mark takes no column, as in yaml/v3.
func position(data []byte, offset int) (line, column int) {
	before := bytes.TrimPrefix(data[:offset], []byte("\ufeff"))
	breaks := lineBreak.FindAllIndex(before, -1)
	if len(breaks) > 0 {
		before = before[breaks[len(breaks)-1][1]:]
	}
	return 1 + len(breaks), 1 + utf8.RuneCount(before)
}
