// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	kyaml "sigs.k8s.io/yaml"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
)

// reader goes through one file. It collects the faults, and keeps where each
// field stands for the checks that come after reading.
type reader struct {
	file   string
	data   []byte
	faults Faults
	// lines is the number of lines in data, or 0 before they are counted.
	lines int
	// warnings are settings that are valid but known not to work.
	warnings []Warning
	// versions are the apiVersions that can be read.
	versions []version
	// form is the wire type of the file.
	form reflect.Type
	// places holds where every known field of the file stands, by path.
	places map[string]place
	// broken holds the paths whose value could not be read: later checks skip
	// them.
	broken map[string]bool
	// misspelt holds the paths that unknown fields were probably meant to be.
	misspelt []string
}

// place is where a field stands in the file.
type place struct{ key, value *yaml.Node }

func newReader(file string, versions []version) *reader {
	return &reader{file: file, versions: versions, places: map[string]place{}, broken: map[string]bool{}}
}

// Short names of YAML's types, as yaml/v3 gives them.
const (
	strTag   = "!!str"
	intTag   = "!!int"
	floatTag = "!!float"
	boolTag  = "!!bool"
	nullTag  = "!!null"
	mergeTag = "!!merge"
)

var durationType = reflect.TypeFor[v1alpha1.Duration]()

// read puts the value of a node into a field of the wire form, which holds its
// default and keeps it when the node is null or wrong.
func (r *reader) read(path string, node *yaml.Node, field reflect.Value) {
	if path == "" {
		r.places[path] = place{node, node}
		r.form = field.Type()
	}
	if !r.isPlain(path, node) || isNull(node) {
		return
	}
	switch {
	case field.Type() == durationType:
		r.readDuration(path, node, field)
	case field.Kind() == reflect.Pointer:
		value := reflect.New(field.Type().Elem())
		r.read(path, node, value.Elem())
		field.Set(value)
	case field.Kind() == reflect.Struct:
		r.readStruct(path, node, field)
	case field.Kind() == reflect.Map:
		r.readMap(path, node, field)
	case field.Kind() == reflect.Slice:
		r.readList(path, node, field)
	default:
		r.readScalar(path, node, field)
	}
}

// isPlain rejects aliases, anchors and tags, with which a value is not what it
// looks like, or is written elsewhere.
func (r *reader) isPlain(path string, node *yaml.Node) bool {
	switch {
	case node.Kind == yaml.AliasNode:
		r.unreadable(node, path, fmt.Sprintf("is an alias (got %s), must be written out%s", quote("*"+node.Value), literal(node.Alias)))
	case node.Anchor != "":
		r.unreadable(node, path, fmt.Sprintf("has an anchor (got %s), must have none", quote("&"+node.Anchor)))
	case node.Style&yaml.TaggedStyle != 0:
		r.unreadable(node, path, fmt.Sprintf("has a tag (got %s), must have none%s", quote(node.Tag), literal(node)))
	default:
		return true
	}
	return false
}

func (r *reader) readStruct(path string, node *yaml.Node, field reflect.Value) {
	if node.Kind != yaml.MappingNode {
		r.unreadable(node, path, wrong("is of the wrong type", describe(node), "must be a mapping of fields"))
		return
	}
	known := fieldsOf(field.Type())
	pathOf := func(name string) string { return join(path, quoteName(name)) }
	r.readMapping(path, node, pathOf, func(at string, key, value *yaml.Node) {
		index, found := known[key.Value]
		if !found {
			r.unknownField(path, key, field.Type())
			return
		}
		r.places[at] = place{key, value}
		r.read(at, value, field.Field(index))
	})
}

func (r *reader) readMap(path string, node *yaml.Node, field reflect.Value) {
	if node.Kind != yaml.MappingNode {
		r.unreadable(node, path, wrong("is of the wrong type", describe(node), "must be a mapping of names to strings"))
		return
	}
	pathOf := func(name string) string { return entry(path, name) }
	r.readMapping(path, node, pathOf, func(at string, key, value *yaml.Node) {
		if isAmbiguous(key) {
			r.fault(key, path, wrong("has a key that "+ambiguous, key.Value, "must be a string"+quoted(key)))
			return
		}
		r.places[at] = place{key, value}
		element := reflect.New(field.Type().Elem()).Elem()
		if isNull(value) {
			r.unreadable(value, at, typeMessage(value, element.Type()))
			return
		}
		r.read(at, value, element)
		field.SetMapIndex(reflect.ValueOf(key.Value), element)
	})
}

func (r *reader) readList(path string, node *yaml.Node, field reflect.Value) {
	if node.Kind != yaml.SequenceNode {
		r.unreadable(node, path, wrong("is of the wrong type", describe(node), "must be a list"))
		return
	}
	list := reflect.MakeSlice(field.Type(), len(node.Content), len(node.Content))
	for i, value := range node.Content {
		at := item(path, i)
		r.places[at] = place{value, value}
		if isNull(value) {
			r.unreadable(value, at, wrong("is empty", describe(value), "must have a value, or be left out"))
			continue
		}
		r.read(at, value, list.Index(i))
	}
	field.Set(list)
}

// readMapping calls each for every key that is a string and not a repetition,
// with its path.
func (r *reader) readMapping(path string, node *yaml.Node, pathOf func(name string) string, each func(at string, key, value *yaml.Node)) {
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		at := pathOf(key.Value)
		switch {
		case key.ShortTag() == mergeTag:
			r.fault(key, path, "has a merge key (got \"<<\"), must be written out")
		case key.Kind != yaml.ScalarNode || key.ShortTag() != strTag:
			r.fault(key, path, wrong("has a key of the wrong type", describe(key), "must be a string"+quoted(key)))
		case !r.isPlain(at, key):
		case first[key.Value] != nil:
			r.fault(key, at, fmt.Sprintf("is repeated, must be given once: it is on line %d already", first[key.Value].Line))
		default:
			first[key.Value] = key
			each(at, key, value)
		}
	}
}

func (r *reader) readScalar(path string, node *yaml.Node, field reflect.Value) {
	if field.Kind() == reflect.String && isAmbiguous(node) {
		r.unreadable(node, path, wrong(ambiguous, node.Value, "must be a string"+quoted(node)))
		return
	}
	if !suits(node, field.Type()) {
		r.unreadable(node, path, typeMessage(node, field.Type()))
		return
	}
	if err := node.Decode(field.Addr().Interface()); err != nil {
		r.unreadable(node, path, wrong("is out of range", describe(node), "must be a number nearer to zero"))
		return
	}
}

func (r *reader) readDuration(path string, node *yaml.Node, field reflect.Value) {
	if node.Kind != yaml.ScalarNode || node.ShortTag() != strTag {
		r.unreadable(node, path, typeMessage(node, field.Type()))
		return
	}
	d, err := time.ParseDuration(node.Value)
	if err != nil {
		allowed := "must be a number and a unit such as 30s, 15m or 1h30m"
		if strings.HasSuffix(node.Value, "d") {
			allowed += "; a day is 24h"
		}
		r.unreadable(node, path, wrong("is not a duration", describe(node), allowed))
		return
	}
	field.Set(reflect.ValueOf(v1alpha1.Duration{Duration: d}))
}

// suits reports whether a node is written as the type wants it. Nothing is
// converted: an unquoted 123 or true is no string, and "123" is no number.
func suits(node *yaml.Node, t reflect.Type) bool {
	if node.Kind != yaml.ScalarNode {
		return false
	}
	tag := node.ShortTag()
	switch t.Kind() {
	case reflect.String:
		return tag == strTag
	case reflect.Bool:
		return tag == boolTag
	case reflect.Float32, reflect.Float64:
		return (tag == floatTag || tag == intTag) && decimal.MatchString(node.Value)
	default:
		return tag == intTag && decimal.MatchString(node.Value)
	}
}

// decimal is the only notation of numbers that is accepted. Others stand for no
// number (.nan), or for different ones in YAML 1.1 and 1.2 (010, 1_000).
var decimal = regexp.MustCompile(`^[-+]?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$`)

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == nullTag
}

// lookup returns the first value of a name in a mapping, or nil.
func lookup(mapping *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// yaml11Booleans are the words that YAML 1.1 (type bool) reads as booleans, and YAML 1.2
// as strings. yaml/v3 does as YAML 1.2, sigs.k8s.io/yaml as YAML 1.1.
var yaml11Booleans = regexp.MustCompile(`^(?:(y|Y|yes|Yes|YES|on|On|ON)|n|N|no|No|NO|off|Off|OFF)$`)

// isAmbiguous reports whether a node is a string to some YAML parsers and a boolean to
// others.
func isAmbiguous(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.Style == 0 && node.ShortTag() == strTag && yaml11Booleans.MatchString(node.Value)
}

const ambiguous = "is a boolean to some YAML parsers and a string to others"

// decode reads the file, in which no fault has been found, into decoded, which
// holds the defaults, and completes it. It rejects a file that this parser reads
// differently from what has been checked: nobody should run with another value than
// the checked one. [isAmbiguous] reports the known cases with a better message; this
// is for the unknown ones.
func (r *reader) decode(root *yaml.Node, checked, decoded any, complete func()) error {
	err := kyaml.UnmarshalStrict(r.data, decoded)
	complete()
	if err == nil && reflect.DeepEqual(checked, decoded) {
		return nil
	}
	at, path := root, firstDifference(checked, decoded)
	if path != "" {
		at = r.locate(path)
	}
	r.fault(at, path, "is understood differently by different YAML parsers, must be without doubt: put quotes around strings, and write numbers in plain decimal")
	return r.result()
}

// firstDifference returns the path of the first field, in the order of the reference, in
// which two wire forms differ, or "" if that cannot be told.
func firstDifference(a, b any) string {
	inA, inB := appendLeaves(nil, "", reflect.Indirect(reflect.ValueOf(a))), appendLeaves(nil, "", reflect.Indirect(reflect.ValueOf(b)))
	for _, path := range mergedPaths(inA, inB) {
		if find(inA, path).text != find(inB, path).text {
			return path
		}
	}
	return ""
}

// skipMisspelt keeps later checks from reporting a field as missing when its
// name is misspelt in the file, which has been reported.
func (r *reader) skipMisspelt() {
	for _, path := range r.misspelt {
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

// isSet reports whether the file has a value for path.
func (r *reader) isSet(path string) bool {
	p, found := r.places[path]
	return found && !isNull(p.value)
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
