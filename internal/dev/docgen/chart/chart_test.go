// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const valuesFile = `
# About all of them.

app:
  # A section has no dashes.
  log:
    # -- How much is written,
    # in words or as a number.
    # @type integer | debug
    level: 1
  # -- Where it listens.
  # @type format:port
  port: 80
  # -- Its name.
  # @type config:a | null
  name: x
# -- More labels.
# @type object
labels: {}
# -- The file.
# @type config
config: {}
`

const configSchema = `{"$schema": "s", "type": "object", "required": ["a"], "properties": {"a": {"type": "string"}},
	"allOf": [{"if": {"required": ["a"]}, "then": {}}]}`

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := Parse([]byte(valuesFile))
	if err != nil {
		t.Fatal(err)
	}
	want := []Value{
		{Name: "app", Path: "app", Children: []Value{
			{Name: "log", Path: "app.log", Children: []Value{
				{Name: "level", Path: "app.log.level", Doc: "How much is written, in words or as a number.", Types: []string{"integer", "debug"}},
			}},
			{Name: "port", Path: "app.port", Doc: "Where it listens.", Types: []string{"format:port"}},
			{Name: "name", Path: "app.name", Doc: "Its name.", Types: []string{"config:a", "null"}},
		}},
		{Name: "labels", Path: "labels", Doc: "More labels.", Types: []string{"object"}},
		{Name: "config", Path: "config", Doc: "The file.", Types: []string{"config"}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Value{}, "Default")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseRefusesWhatIsNotDocumented(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"no comment":               "a:\n  b: 1\n",
		"a comment without dashes": "# Something.\na: 1\n",
		"the comment of another":   "# -- Doc.\na: 1\nb: {}\n",
	} {
		if _, err := Parse([]byte(file)); !errors.Is(err, errUndocumented) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := Parse([]byte("- a\n")); err == nil {
		t.Error("a list was taken")
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	values, err := Parse([]byte(valuesFile))
	if err != nil {
		t.Fatal(err)
	}
	data, err := Schema(values, map[string]string{"app.old": "use app.port"}, []byte(configSchema))
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	section := func(properties object, required ...any) object {
		return object{"type": "object", "additionalProperties": false, "properties": properties, "required": required}
	}
	want := section(object{
		"app": section(object{
			"log": section(object{"level": object{
				"description": "How much is written, in words or as a number.",
				"anyOf":       []any{object{"type": []any{"integer"}}, object{"enum": []any{"debug"}}},
			}}, "level"),
			"port": object{"description": "Where it listens.", "type": "integer", "minimum": 1.0, "maximum": 65535.0},
			"name": object{"description": "Its name.", "anyOf": []any{object{"type": "string"}, object{"type": []any{"null"}}}},
			"old":  object{"description": "Has no meaning any more: use app.port."},
		}, "log", "port"),
		"labels": object{"description": "More labels.", "type": []any{"object"}},
		"config": object{"description": "The file.", "type": "object", "properties": object{"a": object{"type": "string"}}},
		"global": object{"description": "For a chart that has this one in it."},
	}, "app")
	want["$schema"] = "http://json-schema.org/draft-07/schema#"
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, wrong := range []string{"format:none", "config:none"} {
		if _, err := Schema([]Value{{Name: "a", Path: "a", Types: []string{wrong}}}, nil, []byte(configSchema)); err == nil || !strings.Contains(err.Error(), "none") {
			t.Errorf("%s: got %v", wrong, err)
		}
	}
	if _, err := Schema(values, map[string]string{"none.old": "?"}, []byte(configSchema)); err == nil {
		t.Error("a removed value in no section was taken")
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	values, err := Parse([]byte(valuesFile))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Table(values, map[string]string{"old": "use a | b"}, []byte(configSchema))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		"| `app.log.level` | integer, debug | `1` | How much is written, in words or as a number. |",
		"| `app.port` | integer | `80` | Where it listens. |",
		"| `app.name` | string, null | `x` | Its name. |",
		"| `labels` | object | `{}` | More labels. |",
		"| `config` | object | `{}` | The file. |",
		`| ` + "`old`" + ` | use a \| b |`,
	} {
		if !strings.Contains(got, row+"\n") {
			t.Errorf("no row %s in\n%s", row, got)
		}
	}
}

func TestSchemaOfKubernetesTypes(t *testing.T) {
	t.Parallel()
	data, err := Schema([]Value{
		{Name: "tolerations", Path: "tolerations", Doc: "Some.", Types: []string{"kubernetes:tolerations"}},
		{Name: "resources", Path: "resources", Doc: "Some.", Types: []string{"kubernetes:resources"}},
	}, nil, []byte(configSchema))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("values.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for values, want := range map[string]bool{
		`{"tolerations": [{"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 1}]}`: true,
		`{"tolerations": [{"operator": "Exists", "effect": "NoSchedule"}]}`:                                                 true,
		`{"tolerations": [{"operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 1}]}`:                         false,
		`{"tolerations": [{"operator": "Exists", "key": "a", "value": "b"}]}`:                                               false,
		`{"tolerations": [{"value": "b"}]}`:                                                                                 false,
		`{"tolerations": [{"operator": "Exist"}]}`:                                                                          false,
		`{"tolerations": [{"key": 1}]}`:                                                                                     false,
		`{"tolerations": [{"kye": "a"}]}`:                                                                                   false,
		`{"tolerations": {}}`:                                                                                               false,
		`{"resources": {"limits": {"cpu": 1, "memory": "64Mi", "example.org/a": "1"}}}`:                                     true,
		`{"resources": {"limits": {"cpu": "1 core"}}}`:                                                                      false,
		`{"resources": {"limits": {"cpu": -1}}}`:                                                                            false,
		`{"resources": {"limits": {"ram": "1Gi"}}}`:                                                                         false,
		`{"resources": {"memory": "1Gi"}}`:                                                                                  false,
	} {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(values))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); (err == nil) != want {
			t.Errorf("%s: got %v, want it to be valid: %t", values, err, want)
		}
	}
	if _, err := Schema([]Value{{Name: "a", Path: "a", Types: []string{"kubernetes:none"}}}, nil, []byte(configSchema)); err == nil {
		t.Error("an unknown Kubernetes type was taken")
	}
}
