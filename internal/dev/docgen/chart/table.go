// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Table is the reference of values in Markdown, with those that were removed,
// each of which has what to use in its place. config is the JSON Schema of the
// configuration file.
func Table(values []Value, removed map[string]string, config []byte) (string, error) {
	var file object
	if err := json.Unmarshal(config, &file); err != nil {
		return "", fmt.Errorf("schema of the configuration file: %w", err)
	}
	var out strings.Builder
	out.WriteString("| Value | Type | Default | Meaning |\n|---|---|---|---|\n")
	if err := rows(&out, values, file); err != nil {
		return "", err
	}
	out.WriteString("\nOf cert-manager/csi-driver-spiffe's chart these are refused, if they are given:\n\n| Value | What to do |\n|---|---|\n")
	for _, path := range slices.Sorted(maps.Keys(removed)) {
		fmt.Fprintf(&out, "| `%s` | %s |\n", path, cell(removed[path]))
	}
	return out.String(), nil
}

func rows(out *strings.Builder, values []Value, config object) error {
	for _, value := range values {
		if value.Children != nil {
			if err := rows(out, value.Children, config); err != nil {
				return err
			}
			continue
		}
		shown, err := show(value.Default)
		if err != nil {
			return fmt.Errorf("%s: %w", value.Path, err)
		}
		types := make([]string, len(value.Types))
		for i, one := range value.Types {
			types[i] = shownType(one, config)
		}
		fmt.Fprintf(out, "| `%s` | %s | `%s` | %s |\n", value.Path, strings.Join(types, ", "), shown, cell(value.Doc))
	}
	return nil
}

// show writes a default on one line.
func show(node *yaml.Node) (string, error) {
	if node.Kind == yaml.ScalarNode && node.Value != "" {
		return node.Value, nil
	}
	var value any
	if err := node.Decode(&value); err != nil {
		return "", err
	}
	shown, err := json.Marshal(value)
	return string(shown), err
}

// cell keeps text from ending a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
