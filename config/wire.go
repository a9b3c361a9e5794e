// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
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

// leaf is one value of a file.
type leaf struct {
	path  string
	text  string // in JSON; empty when it is not set
	field reflect.StructField
}

func leavesOf(c *Config) []leaf {
	wire := reflect.Indirect(reflect.ValueOf(c.wire))
	if wire.Kind() != reflect.Struct { // not from Parse
		return nil
	}
	return appendLeaves(nil, "", wire)
}

func appendLeaves(leaves []leaf, path string, section reflect.Value) []leaf {
	for i := range section.NumField() {
		field, value := section.Type().Field(i), section.Field(i)
		at := join(path, wireName(field))
		switch {
		case field.Type.Kind() == reflect.Struct && field.Type != durationType:
			leaves = appendLeaves(leaves, at, value)
		case field.Type.Kind() == reflect.Map:
			entries, _ := value.Interface().(map[string]string)
			for _, key := range slices.Sorted(maps.Keys(entries)) {
				leaves = append(leaves, leaf{entry(at, key), jsonOf(entries[key]), field})
			}
		case value.IsZero() && strings.HasSuffix(field.Tag.Get("json"), ",omitempty"):
			leaves = append(leaves, leaf{at, "", field})
		default:
			leaves = append(leaves, leaf{at, jsonOf(value.Interface()), field})
		}
	}
	return leaves
}

// jsonOf what has been in a file, which cannot fail.
func jsonOf(value any) string {
	text, _ := json.Marshal(value)
	return string(text)
}

// mergedPaths puts what is only in the old version behind what it followed
// there.
func mergedPaths(olds, news []leaf) []string {
	var paths []string
	for _, l := range news {
		paths = append(paths, l.path)
	}
	at := 0
	for _, l := range olds {
		if i := slices.Index(paths, l.path); i >= 0 {
			at = i + 1
			continue
		}
		paths = slices.Insert(paths, at, l.path)
		at++
	}
	return paths
}

// find returns a leaf without a path if there is none.
func find(leaves []leaf, path string) leaf {
	if i := slices.IndexFunc(leaves, func(l leaf) bool { return l.path == path }); i >= 0 {
		return leaves[i]
	}
	return leaf{}
}

// parent of "a.b.c" is "a.b", and of "a" it is "", the file.
func parent(path string) string {
	i := strings.LastIndexAny(path, ".[")
	return path[:max(i, 0)]
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// entry is the path of an entry in a map. Unlike a field's name, a key can be
// anything, and of any length: Fault shows it shortened.
func entry(path, key string) string {
	return path + "[" + strconv.Quote(key) + "]"
}

// item is the path of an entry in a list.
func item(path string, index int) string { return path + "[" + strconv.Itoa(index) + "]" }
