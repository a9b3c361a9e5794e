// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"
	"strings"
)

// fieldsOf maps the names that a struct's fields have in a file to their
// indices.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		fields[wireName(t.Field(i))] = i
	}
	return fields
}

// wireName is the name of a field in a file.
func wireName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return name
}

// fieldAt finds a field of a wire form by its path.
func fieldAt(t reflect.Type, path string) (field reflect.StructField, found bool) {
	for name := range strings.SplitSeq(path, ".") {
		name, _, _ = strings.Cut(name, "[") // an entry of a list
		if t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return reflect.StructField{}, false
		}
		index, found := fieldsOf(t)[name]
		if !found {
			return reflect.StructField{}, false
		}
		field = t.Field(index)
		t = field.Type
	}
	return field, true
}
