// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"fmt"
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
	root := section(values, file)
	properties := root["properties"].(object)
	properties["global"] = object{"description": "For a chart that has this one in it."}
	for path, instead := range removed {
		if err := add(properties, strings.Split(path, "."), "Has no meaning any more: "+instead+"."); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	out, err := json.MarshalIndent(root, "", "  ")
	return append(out, '\n'), err
}

// section refuses what it does not know.
func section(values []Value, config object) object {
	properties := object{}
	for _, value := range values {
		if value.Children != nil {
			properties[value.Name] = section(value.Children, config)
		} else {
			properties[value.Name] = schemaOf(value, config)
		}
	}
	return object{"type": "object", "additionalProperties": false, "properties": properties}
}

func schemaOf(value Value, config object) object {
	if slices.Equal(value.Types, []string{"config"}) {
		file := object{}
		for key, part := range config {
			file[key] = part
		}
		file["description"] = value.Doc
		return file
	}
	var types []string
	var words []any
	for _, one := range value.Types {
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
	case len(types) == 0:
		return object{"description": value.Doc, "enum": words}
	case len(types) == len(value.Types):
		return object{"description": value.Doc, "type": types}
	default:
		return object{"description": value.Doc, "anyOf": []any{object{"type": types}, object{"enum": words}}}
	}
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
