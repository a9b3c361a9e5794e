// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Change is one field in which two versions of the file differ.
type Change struct {
	// Path is that of the field, such as certificate.duration. Entries of a map
	// are changes of their own: certificate.requestAnnotations["example.org/a"].
	Path string
	// Old and New are the values as they would stand in the file, in one line
	// and shortened, or "unset".
	Old, New string
	// Effect is what the change asks of daemons that are running.
	Effect Effect
	// Daemon is the one that EffectRestart concerns, "driver" or "approver"; or
	// empty, for both.
	Daemon string
	// Reissue is whether live volumes get new documents because of the change:
	// with EffectReissue always, with EffectRestart after that, and with
	// EffectHot if need be, for which see Note.
	Reissue bool
	// Note says when the change applies, or what comes with it, where the effect
	// alone does not tell; else it is empty.
	Note string
}

// Diff returns the fields in which two versions of the file differ, in the order
// of the reference. Defaults are filled in on both sides: a
// default that is left out here and written out there is no change. Fields go by
// their paths: one that has another path in another apiVersion is unset on the
// one side and set on the other.
func Diff(before, after *Config) []Change {
	olds, news := leavesOf(before), leavesOf(after)
	var changes []Change
	for _, path := range mergedPaths(olds, news) {
		was, is := find(olds, path), find(news, path)
		if was.text == is.text {
			continue
		}
		change := Change{Path: path, Old: was.show(), New: is.show()}
		change.classify(cmp.Or(is.field.Tag, was.field.Tag))
		changes = append(changes, change)
	}
	return changes
}

// RestartRequired returns those of the changes that only a restart takes up.
func RestartRequired(changes []Change) []Change {
	return slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return c.Effect != EffectRestart })
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

// show is the value as it would stand in the file, in one line.
func (l leaf) show() string {
	if l.text == "" {
		return "unset"
	}
	yaml, err := marshalYAML(json.RawMessage(l.text))
	text := strings.TrimSuffix(string(yaml), "\n")
	var long string
	if err == nil && shorten(text) == text {
		return text
	}
	if json.Unmarshal([]byte(l.text), &long) == nil {
		return quote(long)
	}
	return shorten(l.text)
}
