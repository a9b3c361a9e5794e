// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
)

// draft is the version of JSON Schema. Draft 7 says all that is to be said here,
// and editors understand it best: yaml-language-server takes it for granted.
const draft = "http://json-schema.org/draft-07/schema#"

// schema is one schema object, with the keywords that are used here in the order
// in which they are best read.
type schema struct {
	Schema               string     `json:"$schema,omitempty"`
	Title                string     `json:"title,omitempty"`
	Description          string     `json:"description,omitempty"`
	Type                 any        `json:"type,omitempty"`
	Default              any        `json:"default,omitempty"`
	Const                any        `json:"const,omitempty"`
	Enum                 []any      `json:"enum,omitempty"`
	Pattern              string     `json:"pattern,omitempty"`
	MinLength            *int       `json:"minLength,omitempty"`
	MaxLength            *int       `json:"maxLength,omitempty"`
	Minimum              *float64   `json:"minimum,omitempty"`
	ExclusiveMinimum     *float64   `json:"exclusiveMinimum,omitempty"`
	Maximum              *float64   `json:"maximum,omitempty"`
	Required             []string   `json:"required,omitempty"`
	Properties           properties `json:"properties,omitempty"`
	Items                *schema    `json:"items,omitempty"`
	PropertyNames        *schema    `json:"propertyNames,omitempty"`
	AdditionalProperties any        `json:"additionalProperties,omitempty"`
	Not                  *schema    `json:"not,omitempty"`
	If                   *schema    `json:"if,omitempty"`
	Then                 *schema    `json:"then,omitempty"`
	AllOf                []*schema  `json:"allOf,omitempty"`
}

// properties keep the order of the file.
type properties []property

type property struct {
	name   string
	schema *schema
}

// MarshalJSON writes an object.
func (p properties) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	for i, property := range p {
		value, err := marshal(property.schema)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%c%q:%s", "{,"[min(i, 1)], property.name, value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// marshal leaves <, > and & as they are: nobody puts a schema into HTML.
func marshal(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return out.Bytes(), err
}

// jsonSchema of the file.
func jsonSchema(docs comments) ([]byte, error) {
	defaults := v1alpha1.Default()
	defaults.Complete()
	root, err := (&schemaWriter{docs}).section("", reflect.ValueOf(defaults).Elem())
	if err != nil {
		return nil, err
	}
	root.Schema, root.Title = draft, v1alpha1.Kind
	root.Description = "The configuration of csi-driver-spiffe and its approver, " + v1alpha1.APIVersion + "."
	compact, err := marshal(root)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, compact, "", "  ")
	return out.Bytes(), err
}

type schemaWriter struct{ docs comments }

func (w *schemaWriter) section(path string, section reflect.Value) (*schema, error) {
	s := &schema{Type: "object", AdditionalProperties: false, AllOf: crossFieldRules(path)}
	for i := range section.NumField() {
		field := section.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		at := strings.TrimPrefix(path+"."+name, ".")
		var child *schema
		var err error
		switch {
		case isSection(field.Type):
			child, err = w.section(at, section.Field(i))
		case field.Type.Kind() == reflect.Slice && isSection(field.Type.Elem()):
			child = &schema{Type: "array", Default: []any{}}
			child.Items, err = w.section(at+"[]", reflect.ValueOf(entryDefaults(field.Type.Elem())))
		default:
			child, err = value(field, section.Field(i))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		child.Description = description(field, w.docs[section.Type().Name()+"."+field.Name])
		if isRequired(field, section.Field(i)) {
			s.Required = append(s.Required, name)
		} else {
			child.allowNull()
		}
		s.Properties = append(s.Properties, property{name, child})
	}
	return s, nil
}

// isRequired reports whether a field must be in its section: it, or one in it,
// has no default.
func isRequired(field reflect.StructField, value reflect.Value) bool {
	if !isSection(field.Type) {
		return defaultOf(field, value) == required
	}
	for i := range value.NumField() {
		if isRequired(field.Type.Field(i), value.Field(i)) {
			return true
		}
	}
	return false
}

// description is what an editor shows beside a field.
func description(field reflect.StructField, comment string) string {
	text := sentence(field.Name, comment)
	if change := changeOf(field); change != "" {
		text += "\n\nA change: " + change + "."
	}
	return text
}

// allowNull because a field that is null has its default.
func (s *schema) allowNull() {
	s.Type = []any{s.Type, "null"}
	if s.Enum != nil {
		s.Enum = append(s.Enum, nil)
	}
}
