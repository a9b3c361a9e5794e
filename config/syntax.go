// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"regexp"
	"strconv"
)

// The errors of yaml/v3 are plain text. Not all name a line, and none a column.
var (
	yamlError    = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)
	unknownAlias = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	// yamlParserError is a message of its parser, which counts lines from 0;
	// its scanner counts from 1.
	yamlParserError = regexp.MustCompile(`^did not find expected (node content|key|'-' indicator|',' or|<)`)
)

// syntaxFault reports the first fault of the syntax: where that is wrong, what
// follows cannot be read.
func (r *reader) syntaxFault(data []byte, err error) {
	match := yamlError.FindStringSubmatch(err.Error())
	if match == nil {
		match = []string{"", "", quote(err.Error())}
	}
	line, message := syntaxLine(data, match[1], match[2]), match[2]
	if alias := unknownAlias.FindStringSubmatch(message); alias != nil {
		message = "no anchor for the alias " + quote("*"+alias[1])
	}
	text := lineOf(data, line)
	indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
	if bytes.ContainsRune(indent, '\t') {
		message += "; indent with spaces, not with tabs"
	}
	r.faultAt(line, 1+len(indent), "", "is not YAML: "+message)
}

// syntaxLine is the best that can be known of where a fault is.
func syntaxLine(data []byte, number, message string) int {
	if alias := unknownAlias.FindStringSubmatch(message); alias != nil {
		line, _ := position(data, max(0, bytes.Index(data, []byte("*"+alias[1]))))
		return line
	}
	line, _ := strconv.Atoi(number) // 0 when there is none
	if yamlParserError.MatchString(message) {
		line++
	}
	last := 1 + bytes.Count(bytes.TrimRight(data, " \t\r\n"), []byte("\n"))
	return min(max(line, 1), last)
}

// lineOf returns a line, counted from 1, or nothing when there is none such.
func lineOf(data []byte, line int) []byte {
	lines := bytes.Split(data, []byte("\n"))
	if line > len(lines) {
		return nil
	}
	return lines[line-1]
}
