// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Hash names the version of the file by its content: 16 hexadecimal digits. It
// is that of the file with its defaults filled in, so neither comments, order
// and layout nor a default that is written out change it.
func (c *Config) Hash() string { return c.hash }

// hashOf relies on encoding/json for a canonical form: it orders struct fields
// as declared and maps by key.
func hashOf(wire any) (string, error) {
	data, err := json.Marshal(wire)
	if err != nil {
		return "", fmt.Errorf("hashing the configuration: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), nil
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
