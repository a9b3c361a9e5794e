// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
)

// value is the schema of one field that is no section.
func value(field reflect.StructField, value reflect.Value) (*schema, error) {
	s := &schema{Type: jsonType(field.Type)}
	if !isRequired(field, value) {
		s.Default = jsonDefault(value)
	}
	switch {
	case field.Type.Kind() == reflect.Map:
		s.PropertyNames, s.AdditionalProperties = annotationKey(), &schema{Type: "string"}
	case field.Type.Kind() == reflect.Slice && !isSection(field.Type.Elem()):
		s.Items = &schema{Type: jsonType(field.Type.Elem())}
		return s, s.Items.obey(strings.TrimPrefix(field.Tag.Get("validate"), "dive,"))
	case typeOf(field.Type) == "duration":
		// All have a lower bound, so that none is negative, and few may be zero.
		// The bounds themselves cannot be said: patterns do not calculate.
		s.Pattern = duration
		if !strings.Contains(field.Tag.Get("validate"), "min=0s") {
			s.AllOf = []*schema{{Pattern: "[1-9]"}}
		}
		return s, nil
	}
	return s, s.obey(field.Tag.Get("validate"))
}

func jsonType(t reflect.Type) string {
	switch name := typeOf(t); name {
	case "duration":
		return "string"
	case "map of strings":
		return "object"
	case "list of strings", "list of sections":
		return "array"
	default:
		return name
	}
}

// jsonDefault is nil where there is none.
func jsonDefault(value reflect.Value) any {
	switch {
	case value.Kind() == reflect.Pointer && value.IsNil():
		return nil
	case value.Kind() == reflect.Pointer:
		return jsonDefault(value.Elem())
	}
	if d, ok := value.Interface().(v1alpha1.Duration); ok {
		return d.String()
	}
	return value.Interface()
}

// obey says with the keywords of JSON Schema what a validate tag says. It fails
// for what it does not know, so that no rule is forgotten.
func (s *schema) obey(tag string) error {
	if tag == "" {
		return nil
	}
	mayBeEmpty := strings.HasPrefix(tag, "omitempty,")
	for rule := range strings.SplitSeq(tag, ",") {
		name, param, _ := strings.Cut(rule, "=")
		switch name {
		case "omitempty", "required": // see above; section says what is required
		case "eq":
			s.Const = param
		case "ne":
			s.Not = &schema{Const: param}
		case "oneof":
			for _, word := range strings.Fields(param) {
				s.Enum = append(s.Enum, word)
			}
		case "min", "max":
			if err := s.bound(name, param); err != nil {
				return err
			}
		default:
			known, found := patterns()[name]
			if !found {
				return fmt.Errorf("the schema has no words for the validate tag %q: add a pattern to internal/dev/docgen/patterns.go", name)
			}
			s.Pattern, s.MaxLength = known.regexp, known.maxLength
			if mayBeEmpty {
				s.Pattern = "^$|" + s.Pattern
			}
		}
	}
	return nil
}

func (s *schema) bound(name, param string) error {
	number, err := strconv.ParseFloat(param, 64)
	if err != nil {
		return err
	}
	if name == "min" {
		s.Minimum = &number
	} else {
		s.Maximum = &number
	}
	return nil
}
