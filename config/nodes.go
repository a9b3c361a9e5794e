// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"
	"regexp"

	"go.yaml.in/yaml/v3"
)

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

// decimal is how numbers are written. Of the other ways, some are no help (.nan)
// and some mean one thing in YAML 1.1 and another in 1.2 (010, 1_000).
var decimal = regexp.MustCompile(`^[-+]?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$`)

// typeName of a type that a field can have, for people.
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

func typeMessage(node *yaml.Node, t reflect.Type) string {
	if isNull(node) && t.Kind() == reflect.String {
		return wrong("is of the wrong type", describe(node), `must be a string: write "" if it is empty`)
	}
	return wrong("is of the wrong type", describe(node), "must be "+typeName(t)+rewritten(node, t))
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
