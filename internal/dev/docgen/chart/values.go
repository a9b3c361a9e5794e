// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chart makes the documentation and the JSON Schema of a Helm chart's
// values from its values.yaml. A value is documented by the comment above it,
// of which the first line begins with two dashes, and the last may give a type
// that cannot be told from the default:
//
//	# -- Verbosity of the logs.
//	# @type integer | debug | info
//	logLevel: 1
//
// What has no such comment is a section. Alternatives are JSON types; other
// words as they are; "config", which is the project's configuration file;
// "config:" and the path of a field of that; or "format:" and what is allowed for
// a string or number, such as "format:label", or "format:label?" if it may be empty;
// or "kubernetes:" and what of a Kubernetes object, such as "kubernetes:affinity".
package chart

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// errUndocumented means that a value has no comment, so that nobody can know
// what it is for.
var errUndocumented = errors.New(`a value needs a comment that begins with "# -- "`)

// Value is one value of a chart, or a section of them.
type Value struct {
	// Name is the last part of its path.
	Name string
	// Path is the whole of it, with dots.
	Path string
	// Doc is what the comment says; empty for a section.
	Doc string
	// Types are the alternatives that it may be.
	Types []string
	// Default is the value as it is in values.yaml.
	Default *yaml.Node
	// Children are the values of a section.
	Children []Value
}

// Parse reads a values.yaml.
func Parse(data []byte) ([]Value, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, err
	}
	if len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("values.yaml must be a mapping")
	}
	return parse("", document.Content[0], strings.Split(string(data), "\n"))
}

func parse(prefix string, mapping *yaml.Node, lines []string) ([]Value, error) {
	var values []Value
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, node := mapping.Content[i], mapping.Content[i+1]
		value := Value{Name: key.Value, Path: prefix + key.Value, Default: node}
		var declared string
		value.Doc, declared = comment(lines, key)
		switch {
		case value.Doc != "":
			value.Types = typesOf(declared, node)
		case node.Kind == yaml.MappingNode && len(node.Content) > 0:
			children, err := parse(value.Path+".", node, lines)
			if err != nil {
				return nil, err
			}
			value.Children = children
		default:
			return nil, fmt.Errorf("line %d: %s: %w", key.Line, value.Path, errUndocumented)
		}
		values = append(values, value)
	}
	return values, nil
}

// comment returns what stands above a key, and the type that it gives. The
// lines are read here, for a YAML parser is not sure whose a comment is.
func comment(lines []string, key *yaml.Node) (doc, declared string) {
	indent := strings.Repeat(" ", key.Column-1) + "#"
	var words []string
	for i := key.Line - 2; i >= 0 && strings.HasPrefix(lines[i], indent); i-- {
		text := strings.TrimSpace(strings.TrimPrefix(lines[i], indent))
		if given, ok := strings.CutPrefix(text, "@type "); ok {
			declared = given
			continue
		}
		first, isFirst := strings.CutPrefix(text, "-- ")
		words = append([]string{first}, words...)
		if isFirst {
			return strings.Join(words, " "), declared
		}
	}
	return "", ""
}

func typesOf(declared string, node *yaml.Node) []string {
	if declared != "" {
		return strings.Split(declared, " | ")
	}
	switch node.ShortTag() {
	case "!!bool":
		return []string{"boolean"}
	case "!!int":
		return []string{"integer"}
	case "!!seq":
		return []string{"array"}
	case "!!map":
		return []string{"object"}
	default:
		return []string{"string"}
	}
}
