// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"reflect"
	"strings"
	"testing"
)

func TestJSONSchema(t *testing.T) {
	t.Parallel()
	docs, err := readComments(types)
	if err != nil {
		t.Fatal(err)
	}
	data, err := jsonSchema(docs)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(string(data)), " ")
	for name, want := range map[string]string{
		"required":       `"required": [ "apiVersion", "kind", "trustDomain", "issuerRef" ], "properties": { "apiVersion"`,
		"const":          `"const": "SPIFFEConfiguration"`,
		"description":    `"description": "Put on every CertificateRequest,`,
		"change":         `\n\nA change: restart of the approver."`,
		"null":           `"type": [ "integer", "null" ], "default": 16, "minimum": 1, "maximum": 1000`,
		"enum":           `"default": "info", "enum": [ "debug", "info", "warn", "error", null ]`,
		"zero default":   `"default": 0, "minimum": 0, "maximum": 10000`,
		"bool default":   `"default": true`,
		"no default":     `"type": [ "integer", "null" ], "minimum": 0, "maximum": 4294967294`,
		"empty, or":      `"default": "", "pattern": "^$|^/(`,
		"another than":   `"not": { "const": "/" }`,
		"cross-field":    `{ "if": { "required": [ "algorithm" ], "properties": { "algorithm": { "const": "RSA" } } }, "then": { "properties": { "size": { "enum": [ 2048, 3072, 4096, null ] } } } }`,
		"no other field": `"additionalProperties": false`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s: no %s in:\n%s", name, want, data)
		}
	}
}

// A rule that the schema would not say is no silent loss.
func TestUnknownRule(t *testing.T) {
	t.Parallel()
	err := new(schema).obey("required,colour")
	if err == nil || !strings.Contains(err.Error(), `"colour"`) {
		t.Errorf("got %v", err)
	}
	if err := new(schema).obey("min=low"); err == nil {
		t.Error("a bound that is no number was taken")
	}
}

func TestCaseless(t *testing.T) {
	t.Parallel()
	if got, want := caseless(`[a-z0-9]k8s\.`), `[A-Za-z0-9][Kk]8[Ss]\.`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestChangeOf(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]string{
		``:                                    "",
		`change:"hot"`:                        "hot",
		`change:"reissue"`:                    "re-issue",
		`change:"hot,reissue" note:"perhaps"`: "hot; perhaps",
		`change:"restart,driver,reissue"`:     "restart of the driver, re-issue",
	} {
		if got := changeOf(reflect.StructField{Tag: reflect.StructTag(tag)}); got != want {
			t.Errorf("%s: got %q, want %q", tag, got, want)
		}
	}
}
