// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// unknownField reports a key that is no field of the struct t at path. What was
// probably meant is not reported as missing as well.
func (r *reader) unknownField(path string, key *yaml.Node, t reflect.Type) {
	names := slices.Sorted(maps.Keys(fieldsOf(t)))
	at := join(path, quoteName(key.Value))
	if name := nearest(key.Value, names); name != "" {
		meant := join(path, name)
		r.meant = append(r.meant, meant)
		r.fault(key, at, "is not a field, did you mean "+meant+"?")
		return
	}
	if elsewhere := pathsNamed(r.form, "", key.Value); len(elsewhere) > 0 {
		r.meant = append(r.meant, elsewhere...)
		r.fault(key, at, "is not a field here, did you mean "+oneOf(elsewhere)+"?")
		return
	}
	r.fault(key, at, "is not a field, must be "+oneOf(names))
}

// pathsNamed returns every path in the struct t that ends in name.
func pathsNamed(t reflect.Type, path, name string) (paths []string) {
	for i := range t.NumField() {
		field := t.Field(i)
		at := join(path, wireName(field))
		if wireName(field) == name {
			paths = append(paths, at)
		}
		if field.Type.Kind() == reflect.Struct && field.Type != durationType {
			paths = append(paths, pathsNamed(field.Type, at, name)...)
		}
	}
	return paths
}

// nearest returns the name that is most like what was written, or nothing when
// none is much like it.
func nearest(written string, names []string) string {
	best, least := "", 1+min(len(written), 12)/3
	for _, name := range names {
		if d := distance(strings.ToLower(written), strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance of a and b is how many bytes must be put in, taken out or changed to
// get from one to the other (Levenshtein).
func distance(a, b string) int {
	if max(len(a), len(b)) > maxQuoted {
		return maxQuoted
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
