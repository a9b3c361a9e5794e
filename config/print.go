// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// CheckFile is what --validate-config and --print-config do: it loads the file
// at path, or standard input for "-", and writes to stdout the file with its
// defaults filled in when full is set, else one line that says it is valid.
//
// What is valid and known not to work ([Config.Warnings]) goes to stderr, a line each,
// unless full is set; the file is valid all the same.
//
// If it is not, every fault goes to stderr, a line each, and their number after
// them. The error is then what Load returned; it has been reported already, so
// that all there is to do with it is to exit with 1.
func CheckFile(path string, full bool, stdout, stderr io.Writer) error {
	c, err := Load(path)
	var faults Faults
	switch {
	case errors.As(err, &faults):
		fmt.Fprintf(stderr, "%s\n%s\n", err, count(len(faults), "fault"))
		return err
	case err != nil:
		fmt.Fprintln(stderr, err)
		return err
	case full:
		return printConfig(c, stdout)
	}
	for _, warning := range c.Warnings() {
		fmt.Fprintln(stderr, warning)
	}
	_, err = fmt.Fprintf(stdout, "%s: valid (%s, hash %s)\n", nameOf(path), c.apiVersion, c.Hash())
	return err
}

func printConfig(c *Config, out io.Writer) error {
	data, err := c.YAML()
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// YAML returns the file with its defaults filled in, in the order of the
// reference and without comments. Parsing that gives a Config with the same
// Hash.
func (c *Config) YAML() ([]byte, error) {
	out, err := marshalYAML(c.wire)
	if err != nil {
		return nil, fmt.Errorf("printing the configuration: %w", err)
	}
	return out, nil
}

// marshalYAML goes by the json tags, as sigs.k8s.io/yaml does, but keeps the
// fields in their order.
func marshalYAML(wire any) ([]byte, error) {
	data, err := json.Marshal(wire)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	node, err := nodeFromJSON(decoder)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(node); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

// nodeFromJSON reads one JSON value. An empty list is written as [].
func nodeFromJSON(decoder *json.Decoder) (*yaml.Node, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	collection := &yaml.Node{Kind: yaml.MappingNode}
	switch token {
	case json.Delim('{'):
	case json.Delim('['):
		collection.Kind = yaml.SequenceNode
	default:
		node := new(yaml.Node)
		err := node.Encode(scalar(token))
		return node, err
	}
	for decoder.More() { // keys of a mapping count as values
		node, err := nodeFromJSON(decoder)
		if err != nil {
			return nil, err
		}
		collection.Content = append(collection.Content, node)
	}
	if collection.Kind == yaml.SequenceNode && len(collection.Content) == 0 {
		collection.Style = yaml.FlowStyle
	}
	_, err = decoder.Token() // the closing brace or bracket
	return collection, err
}

// scalar makes numbers what yaml/v3 prints without quotes.
func scalar(token json.Token) any {
	number, isNumber := token.(json.Number)
	if !isNumber {
		return token
	}
	if i, err := number.Int64(); err == nil {
		return i
	}
	f, _ := number.Float64() // json.Marshal wrote it
	return f
}

//go:generate go -C .. run ./internal/dev/docgen

//go:embed schema.json
var schemaJSON string

// JSONSchema is the JSON Schema (draft 7) of the file, with which editors
// complete and check it: what --print-schema prints. It is made from package
// v1alpha1. What [Parse] takes satisfies it. The converse does not hold: JSON
// Schema cannot calculate with durations nor compare two fields, so Parse has
// the last word.
func JSONSchema() string { return schemaJSON }
