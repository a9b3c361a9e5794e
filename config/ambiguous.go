// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yaml11Booleans are the words that YAML 1.1 (type bool) reads as booleans, and YAML 1.2
// as strings. yaml/v3 does as YAML 1.2, sigs.k8s.io/yaml as YAML 1.1.
var yaml11Booleans = regexp.MustCompile(`^(?:(y|Y|yes|Yes|YES|on|On|ON)|n|N|no|No|NO|off|Off|OFF)$`)

// isAmbiguous reports whether a node is a string to some YAML parsers and a boolean to
// others.
func isAmbiguous(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.Style == 0 && node.ShortTag() == strTag && yaml11Booleans.MatchString(node.Value)
}

const ambiguous = "is a boolean to some YAML parsers and a string to others"

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
