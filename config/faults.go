// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Fault is one thing that is wrong with a file.
type Fault struct {
	// File is the name that was given to Parse.
	File string
	// Line and Column count from 1; columns count characters, not bytes. What
	// is missing is reported where it should have been: at its parent.
	Line, Column int
	// Path of the field, such as "certificate.privateKey.size". Empty when the
	// fault concerns the file as a whole.
	Path string
	// Message says what is wrong, what was found and what is allowed, in one
	// line that is safe to print.
	Message string
}

// Error returns FILE:LINE:COLUMN: PATH: MESSAGE.
func (f Fault) Error() string {
	path := f.Path
	if path != "" {
		path += ": "
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", f.File, f.Line, f.Column, path, f.Message)
}

// Faults are all the faults of one file, in the order of their positions. Get
// at them with errors.As.
type Faults []Fault

// Error returns a line for each fault, without a newline at the end.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

func (fs Faults) sort() {
	slices.SortFunc(fs, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Message, b.Message),
		)
	})
}

// Warning is a combination of settings that is valid, and is known not to work. It
// has the fields of a [Fault], and the file is loaded all the same: what an issuer
// can do changes without this program.
type Warning Fault

// String returns FILE:LINE:COLUMN: warning: PATH: MESSAGE.
func (w Warning) String() string {
	f := Fault(w)
	f.Path = "warning: " + f.Path
	return f.Error()
}

// Warnings returns what is known not to work, in the order of the positions in the
// file. The caller must not change it.
func (c *Config) Warnings() []Warning { return c.warnings }

// maxPath is how many characters of a path are shown: more than any field has,
// but entries of maps are named by the file.
const maxPath = 128

func (r *reader) fault(at *yaml.Node, path, message string) {
	r.faultAt(at.Line, at.Column, path, message)
}

func (r *reader) faultAt(line, column int, path, message string) {
	if runes := []rune(path); len(runes) > maxPath {
		path = string(runes[:maxPath]) + "…"
	}
	// yaml/v3 puts what is empty at the end on a line of its own.
	if last := r.lastLine(); line > last {
		line, column = last, 1
	}
	// It leaves positions at zero in a document of nothing but comments.
	r.faults = append(r.faults, Fault{r.file, max(line, 1), max(column, 1), path, message})
}

// lastLine is the number of the last line.
func (r *reader) lastLine() int {
	if r.lines == 0 {
		r.lines = 1 + len(lineBreak.FindAllIndex(r.data, -1))
	}
	return r.lines
}

// unreadable reports a fault after which the value of path is unknown.
func (r *reader) unreadable(at *yaml.Node, path, message string) {
	r.broken[path] = true
	r.fault(at, path, message)
}

// result is the error to return: nil when no fault has been found.
func (r *reader) result() error {
	if len(r.faults) == 0 {
		return nil
	}
	r.faults.sort()
	return r.faults
}

// wrong puts a message together: what is wrong (got …), what is allowed.
func wrong(problem, got, allowed string) string {
	return problem + " (got " + got + "), " + allowed
}

// maxQuoted is how many characters of a value are shown.
const maxQuoted = 64

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

// shorten returns s as it is if it is short and printable, and quotes it otherwise.
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

// describe says what was found, in few words that are safe to print.
func describe(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "a mapping"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case node.Kind == yaml.AliasNode:
		return "an alias"
	case isNull(node):
		return "nothing"
	case node.ShortTag() == strTag:
		return quote(node.Value)
	default:
		return shorten(node.Value)
	}
}

func typeMessage(node *yaml.Node, t reflect.Type) string {
	if isNull(node) && t.Kind() == reflect.String {
		return wrong("is of the wrong type", describe(node), `must be a string: write "" if it is empty`)
	}
	return wrong("is of the wrong type", describe(node), "must be "+typeName(t)+rewritten(node, t))
}

// typeName describes the type of a field, for messages.
func typeName(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration such as 30s, 15m or 1h30m"
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem())
	case t.Kind() == reflect.String:
		return "a string"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		return "a number in decimal"
	default:
		return "a whole number in decimal"
	}
}
