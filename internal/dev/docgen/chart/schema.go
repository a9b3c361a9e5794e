// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

type object = map[string]any

// Schema is values.schema.json: it refuses what is misspelt or of a wrong type.
// Values that were removed are let through, for the chart says more of them
// than a schema can. config is the JSON Schema of the configuration file.
func Schema(values []Value, removed map[string]string, config []byte) ([]byte, error) {
	var file object
	if err := json.Unmarshal(config, &file); err != nil {
		return nil, fmt.Errorf("schema of the configuration file: %w", err)
	}
	delete(file, "$schema")
	loosen(file)
	limitMountPaths(file)
	definitions := definitions{}
	root, err := section(values, file, definitions)
	if err != nil {
		return nil, err
	}
	properties := root["properties"].(object)
	properties["global"] = object{"description": "For a chart that has this one in it."}
	for path, instead := range removed {
		if err := add(properties, strings.Split(path, "."), "Has no meaning any more: "+instead+"."); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if len(definitions) > 0 {
		root["definitions"] = definitions
	}
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	out, err := json.MarshalIndent(root, "", "  ")
	return append(out, '\n'), err
}

// section rejects what it does not know, and that a value is missing which the chart
// needs. Helm fills in the defaults before it looks at the schema, so that only what is
// set to null is missing.
func section(values []Value, config object, definitions definitions) (object, error) {
	properties, required := object{}, []any{}
	for _, value := range values {
		schema, err := sectionOrValue(value, config, definitions)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", value.Path, err)
		}
		properties[value.Name] = schema
		if isNeeded(value, schema) {
			required = append(required, value.Name)
		}
	}
	schema := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema, nil
}

func sectionOrValue(value Value, config object, definitions definitions) (object, error) {
	if value.Children != nil {
		return section(value.Children, config, definitions)
	}
	return schemaOf(value, config, definitions)
}

// isNeeded reports whether the chart needs a value: a section, and a string or number
// that cannot be empty.
func isNeeded(value Value, schema object) bool {
	switch {
	case value.Children != nil:
		return true
	case slices.Contains(value.Types, "null"), len(value.Types) == 1 && value.Types[0] == "config":
		return false
	}
	if words, ok := schema["enum"].([]any); ok {
		return !slices.Contains(words, any(""))
	}
	pattern, _ := schema["pattern"].(string)
	switch schema["type"] {
	case "integer":
		return true
	case "string":
		return schema["minLength"] != nil || pattern != "" && !regexp.MustCompile(pattern).MatchString("")
	default:
		return schema["anyOf"] != nil
	}
}

func schemaOf(value Value, config object, definitions definitions) (object, error) {
	if slices.Equal(value.Types, []string{"config"}) {
		file := object{}
		for key, part := range config {
			file[key] = part
		}
		file["description"] = value.Doc
		return file, nil
	}
	var types []string
	var words, others []any
	for _, one := range value.Types {
		schema, err := special(one, config, definitions)
		switch {
		case err != nil:
			return nil, err
		case schema["$ref"] != nil && len(value.Types) == 1: // in draft 7, nothing counts beside $ref
			return object{"description": value.Doc, "allOf": []any{schema}}, nil
		case schema != nil && len(value.Types) == 1:
			schema["description"] = value.Doc
			return schema, nil
		case schema != nil:
			others = append(others, schema)
			continue
		}
		switch one {
		case "object", "array", "string", "integer", "boolean":
			types = append(types, one)
		case "null":
			types = append(types, one)
			words = append(words, nil)
		default:
			words = append(words, one)
		}
	}
	switch {
	case len(types) == 0 && len(others) == 0:
		return object{"description": value.Doc, "enum": words}, nil
	case len(types) == len(value.Types):
		return object{"description": value.Doc, "type": types}, nil
	}
	if len(types) > 0 {
		others = append(others, object{"type": types})
	}
	if words = slices.DeleteFunc(words, func(word any) bool { return word == nil && slices.Contains(types, "null") }); len(words) > 0 {
		others = append(others, object{"enum": words})
	}
	return object{"description": value.Doc, "anyOf": others}, nil
}

// loosen takes from the schema of a whole file what does not hold for a part of
// one: which fields there must be, and what depends on others.
func loosen(node any) {
	switch node := node.(type) {
	case object:
		delete(node, "required")
		if all, ok := node["allOf"].([]any); ok {
			all = slices.DeleteFunc(all, func(part any) bool { _, conditional := part.(object)["if"]; return conditional })
			if node["allOf"] = all; len(all) == 0 {
				delete(node, "allOf")
			}
		}
		for _, child := range node {
			loosen(child)
		}
	case []any:
		for _, child := range node {
			loosen(child)
		}
	}
}

// add lets a removed value through.
func add(properties object, path []string, description string) error {
	for _, name := range path[:len(path)-1] {
		parent, ok := properties[name].(object)
		if !ok {
			return fmt.Errorf("no section %s", name)
		}
		if properties, ok = parent["properties"].(object); !ok {
			return fmt.Errorf("%s is no section", name)
		}
	}
	properties[path[len(path)-1]] = object{"description": description}
	return nil
}
