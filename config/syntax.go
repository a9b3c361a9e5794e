// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
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

// unknownAliasOffset returns where the alias is that yaml/v3 has not found an anchor
// for, without saying where: the same text may stand in comments and strings before it.
// It is the first after which the beginning of the file has that fault.
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

// syntaxLine is the best that can be known of where a fault is.
func syntaxLine(data []byte, number, message string) int {
	line, _ := strconv.Atoi(number) // 0 when there is none
	if yamlParserError.MatchString(message) {
		line++
	}
	last := 1 + len(lineBreak.FindAllIndex(bytes.TrimRight(data, " \t\r\n"), -1))
	return min(max(line, 1), last)
}

// lineOf returns a line, counted from 1, or nothing when there is none such.
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
