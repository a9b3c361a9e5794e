// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
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
		r.misspelt = append(r.misspelt, meant)
		r.fault(key, at, "is not a field, did you mean "+meant+"?")
		return
	}
	if elsewhere := pathsNamed(r.form, "", key.Value); len(elsewhere) > 0 {
		r.misspelt = append(r.misspelt, elsewhere...)
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

// rewritten returns how to write the value of a node as the type wants it, after a colon.
// It is empty if that cannot be said.
func rewritten(node *yaml.Node, t reflect.Type) string {
	if node.Kind != yaml.ScalarNode || isNull(node) || len(node.Value) > maxQuoted {
		return ""
	}
	switch t.Kind() {
	case reflect.String:
		return quoted(node)
	case reflect.Bool:
		return rewrittenBool(node.Value)
	case reflect.Int, reflect.Int64, reflect.Int32:
		return rewrittenNumber(node.Value, true)
	case reflect.Float32, reflect.Float64:
		return rewrittenNumber(node.Value, false)
	default:
		return ""
	}
}

func rewrittenBool(text string) string {
	lower := strings.ToLower(text)
	match := yaml11Booleans.FindStringSubmatch(text)
	switch {
	case lower == "true", lower == "false":
		return ": write " + lower
	case match == nil:
		return ""
	case match[1] != "":
		return ": write true"
	default:
		return ": write false"
	}
}

// leadingZero is a number that is octal in YAML 1.1, and decimal in YAML 1.2.
var leadingZero = regexp.MustCompile(`^([-+]?)0+([0-7]+)$`)

func rewrittenNumber(text string, whole bool) string {
	if match := leadingZero.FindStringSubmatch(text); match != nil {
		octal, _ := new(big.Int).SetString(match[1]+match[2], 8)
		decimal, _ := new(big.Int).SetString(match[1]+match[2], 10)
		if octal.Cmp(decimal) == 0 {
			return ": write " + decimal.String()
		}
		return ": write " + octal.String() + " if it is octal, " + decimal.String() + " if it is decimal"
	}
	text = strings.ReplaceAll(text, "_", "")
	if number, ok := new(big.Int).SetString(strings.TrimPrefix(text, "+"), 0); ok {
		return ": write " + number.String()
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(number, 0) || math.IsNaN(number) || whole && number != math.Trunc(number) || math.Abs(number) >= 1<<53 {
		return ""
	}
	return ": write " + strconv.FormatFloat(number, 'f', -1, 64)
}

// quoted returns what to write to have the text of a node taken for a string, after a
// colon. It is empty if that is too long to be shown.
func quoted(node *yaml.Node) string {
	if text := quote(node.Value); node.Kind == yaml.ScalarNode && !strings.HasSuffix(text, "…") {
		return ": write " + text
	}
	return ""
}

// literal returns how to write the value of a scalar that is an alias, or has a tag,
// after a colon, if that is a string.
func literal(node *yaml.Node) string {
	if node.ShortTag() != strTag {
		return ""
	}
	return quoted(node)
}
