// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
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

// checkText rejects a file that is too large, is not UTF-8 or has control
// characters.
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

// The errors of yaml/v3 are plain text. Not all name a line, and none a column.
var (
	yamlError    = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)
	unknownAlias = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	// yamlParserError is a message of its parser, which counts lines from 0;
	// its scanner counts from 1.
	yamlParserError = regexp.MustCompile(`^did not find expected (node content|key|'-' indicator|',' or|<)`)
)

// syntaxFault reports the first syntax error. What follows it cannot be read.
func (r *reader) syntaxFault(data []byte, err error) {
	match := yamlError.FindStringSubmatch(err.Error())
	if match == nil {
		match = []string{"", "", quote(err.Error())}
	}
	if alias := unknownAlias.FindStringSubmatch(match[2]); alias != nil {
		line, column := position(data, unknownAliasOffset(data, alias[1]))
		r.faultAt(line, column, "", "is not YAML: no anchor for the alias "+quote("*"+alias[1]))
		return
	}
	line, message := syntaxLine(data, match[1], match[2]), match[2]
	text := lineOf(data, line)
	indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
	if bytes.ContainsRune(indent, '\t') {
		message += "; indent with spaces, not with tabs"
	}
	r.faultAt(line, 1+len(indent), "", "is not YAML: "+message)
}

// mostAliases bounds how often a file is read again to find an alias.
const mostAliases = 100

// unknownAliasOffset returns the offset of the alias that has no anchor. yaml/v3
// gives its name, but no position, and the same text may stand in comments and strings
// before it. So each occurrence is tried: it is the first with which the file up to
// there has that error.
func unknownAliasOffset(data []byte, name string) int {
	text := []byte("*" + name)
	first := max(0, bytes.Index(data, text))
	offset := first
	for range mostAliases {
		end := offset + len(text)
		if end > len(data) {
			break
		}
		var node yaml.Node
		err := yaml.Unmarshal(data[:end], &node)
		if err != nil && strings.HasSuffix(err.Error(), fmt.Sprintf("unknown anchor '%s' referenced", name)) {
			return offset
		}
		next := bytes.Index(data[end:], text)
		if next < 0 {
			break
		}
		offset = end + next
	}
	return first
}

// syntaxLine returns the line of a syntax error, as far as yaml/v3 tells it.
func syntaxLine(data []byte, number, message string) int {
	line, _ := strconv.Atoi(number) // 0 when there is none
	if yamlParserError.MatchString(message) {
		line++
	}
	last := 1 + len(lineBreak.FindAllIndex(bytes.TrimRight(data, " \t\r\n"), -1))
	return min(max(line, 1), last)
}

// lineOf returns a line, counted from 1, or nil if there is no such line.
func lineOf(data []byte, line int) []byte {
	breaks := lineBreak.FindAllIndex(data, -1)
	if line > len(breaks)+1 {
		return nil
	}
	start, end := 0, len(data)
	if line > 1 {
		start = breaks[line-2][1]
	}
	if line <= len(breaks) {
		end = breaks[line-1][0]
	}
	return data[start:end]
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

// lineBreak is what ends a line for yaml/v3, as in YAML 1.1.
var lineBreak = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")
