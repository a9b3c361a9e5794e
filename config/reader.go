// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reader goes through one file. It collects the faults, and keeps where each
// field stands for the checks that come after reading.
type reader struct {
	file   string
	data   []byte
	faults Faults
	// lines is how many data has, 0 if they have not been counted.
	lines int
	// warnings are about what is valid all the same.
	warnings []Warning
	// versions are those that are understood.
	versions []version
	// form is the type of the whole file.
	form reflect.Type
	// places has every field of the file that is known, by path.
	places map[string]place
	// broken has the paths about whose value nothing more can be said, because
	// it could not be read.
	broken map[string]bool
	// meant has the paths that misspelt fields were probably meant to be.
	meant []string
}

// place is where a field stands in the file.
type place struct{ key, value *yaml.Node }

// maxPath is how many characters of a path are shown: more than any field has,
// but entries of maps are named by the file.
const maxPath = 128

func newReader(file string, versions []version) *reader {
	return &reader{file: file, versions: versions, places: map[string]place{}, broken: map[string]bool{}}
}

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

// lineBreak is what ends a line for yaml/v3, as in YAML 1.1.
var lineBreak = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")

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

// excuse makes nothing be said about fields that are not in the file because
// they are misspelt there, which has been said.
func (r *reader) excuse() {
	for _, path := range r.meant {
		if !r.isSet(path) {
			r.broken[path] = true
		}
	}
}

// isBroken reports whether path, or what it is in, could not be read.
func (r *reader) isBroken(path string) bool {
	for ; path != ""; path = parent(path) {
		if r.broken[path] {
			return true
		}
	}
	return r.broken[""]
}

// locate returns the node to point at for a path: its value, or when it is not
// in the file, the key of what it should be in.
func (r *reader) locate(path string) *yaml.Node {
	if r.isSet(path) {
		return r.places[path].value
	}
	for {
		if p, found := r.places[path]; found {
			return p.key
		}
		path = parent(path)
	}
}

// isSet reports whether the file has a value for path.
func (r *reader) isSet(path string) bool {
	p, found := r.places[path]
	return found && !isNull(p.value)
}

// result is the error to return: nil when no fault has been found.
func (r *reader) result() error {
	if len(r.faults) == 0 {
		return nil
	}
	r.faults.sort()
	return r.faults
}

// parent of "a.b.c" is "a.b", and of "a" it is "", the file.
func parent(path string) string {
	i := strings.LastIndexAny(path, ".[")
	return path[:max(i, 0)]
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// entry is the path of an entry in a map. Unlike a field's name, a key can be
// anything, and of any length: Fault shows it shortened.
func entry(path, key string) string {
	return path + "[" + strconv.Quote(key) + "]"
}

// item is the path of an entry in a list.
func item(path string, index int) string { return path + "[" + strconv.Itoa(index) + "]" }
