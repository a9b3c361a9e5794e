// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
)

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

// isPlain refuses what makes a value stand elsewhere than where it is read, or
// be something else than it looks.
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
