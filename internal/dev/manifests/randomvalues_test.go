// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// randomValues makes values that values.schema.json accepts.
type randomValues struct{ leaves []valueLeaf }

// valueLeaf is a value that is no section.
type valueLeaf struct {
	path   []string
	schema *jsonschema.Schema
}

// isSwitch reports whether a value of the chart switches something on.
func (l valueLeaf) isSwitch() bool {
	return l.path[0] != "config" && l.schema.Validate(true) == nil
}

func newRandomValues(t *testing.T) randomValues {
	t.Helper()
	data, err := os.ReadFile(chart + "/values.schema.json")
	check(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	check(t, err)
	compiler := jsonschema.NewCompiler()
	check(t, compiler.AddResource("values.schema.json", document))
	whole, err := compiler.Compile("values.schema.json")
	check(t, err)
	random := randomValues{}
	random.addLeaves(nil, whole)
	if len(random.leaves) < 100 {
		t.Fatalf("only %d values", len(random.leaves))
	}
	return random
}

func (r *randomValues) addLeaves(path []string, section *jsonschema.Schema) {
	for _, name := range slices.Sorted(maps.Keys(section.Properties)) {
		at, schema := append(slices.Clone(path), name), section.Properties[name]
		switch {
		case len(schema.Properties) > 0:
			r.addLeaves(at, schema)
		case strings.HasPrefix(schema.Description, "Has no meaning any more"), at[0] == "global":
		default:
			r.leaves = append(r.leaves, valueLeaf{at, schema})
		}
	}
}

// values returns a file of values: half of what can be switched on is, and a few other
// values are unusual. Those of some paths are one of a list.
func (r *randomValues) values(random *rand.Rand, lists map[string][]string) []byte {
	values := map[string]any{}
	for _, leaf := range r.leaves {
		if leaf.isSwitch() && random.IntN(2) == 0 {
			set(values, leaf.path, true)
		}
	}
	for range 1 + random.IntN(6) {
		leaf := r.leaves[random.IntN(len(r.leaves))]
		if leaf.path[0] == "config" { // of which there are many, and little is in the objects
			leaf = r.leaves[random.IntN(len(r.leaves))]
		}
		if list := lists[strings.Join(leaf.path, ".")]; list != nil {
			set(values, leaf.path, json.RawMessage(list[random.IntN(len(list))]))
		} else if value, ok := leaf.sample(random); ok {
			set(values, leaf.path, value)
		}
	}
	data, err := json.MarshalIndent(values, "", "  ")
	if err != nil {
		panic(err)
	}
	return data
}

func set(values map[string]any, path []string, value any) {
	for _, name := range path[:len(path)-1] {
		next, ok := values[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			values[name] = next
		}
		values = next
	}
	values[path[len(path)-1]] = value
}

// sample returns a value that the schema accepts, and false if it finds none.
func (l valueLeaf) sample(random *rand.Rand) (any, bool) {
	for range 20 {
		if value, ok := sample(random, l.schema, 0); ok {
			return value, true
		}
	}
	return nil, false
}

// sample returns a value that a schema accepts, and false if it finds none.
func sample(random *rand.Rand, schema *jsonschema.Schema, depth int) (any, bool) {
	if len(schema.AllOf) == 1 && schema.AllOf[0].Ref != nil {
		schema = schema.AllOf[0]
	}
	if schema.Ref != nil {
		schema = schema.Ref
	}
	items, isList := schema.Items.(*jsonschema.Schema)
	others, isMap := schema.AdditionalProperties.(*jsonschema.Schema)
	switch {
	case schema.Enum != nil:
		return schema.Enum.Values[random.IntN(len(schema.Enum.Values))], true
	case isList:
		list := []any{}
		for range random.IntN(3) {
			if value, ok := sample(random, items, depth+1); ok {
				list = append(list, value)
			}
		}
		return list, schema.Validate(list) == nil
	case isMap:
		entries := map[string]any{}
		for range random.IntN(3) {
			key := unusualStrings[random.IntN(len(unusualStrings))]
			if value, ok := sample(random, others, depth+1); ok && (schema.PropertyNames == nil || schema.PropertyNames.Validate(key) == nil) {
				entries[key] = value
			}
		}
		return entries, schema.Validate(entries) == nil
	case len(schema.Properties) > 0:
		return sampleFields(random, schema, depth)
	}
	for range 100 {
		if value := unusual(random, 0); schema.Validate(value) == nil {
			return value, true
		}
	}
	return nil, false
}

// sampleFields returns an object that has the required fields and a few others.
func sampleFields(random *rand.Rand, schema *jsonschema.Schema, depth int) (any, bool) {
	fields := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		if !slices.Contains(schema.Required, name) && (depth > 6 || random.IntN(len(schema.Properties)) > 2) {
			continue
		}
		if value, ok := sample(random, schema.Properties[name], depth+1); ok {
			fields[name] = value
		}
	}
	return fields, schema.Validate(fields) == nil
}

// unusualStrings are what templates, YAML and Kubernetes are easily wrong about.
var unusualStrings = []string{
	"", " ", "a", "A", "a.b", "a-b", "a_b", "a/b", "example.org/a", "-a", "a-", "true", "null", "~", "on", "no", "42", "042", "4.2", "1e3", "0x1f", ".inf",
	"2026-01-02", "1:30", "- a", "a: b", "a:", "a #b", "#", "{a}", "[a]", "{a: b}", "*a", "&a", "!a", "%a", "@a", "`a`", "'", `"`, `a"b'c`, `\`, "a\nb", "a\n", "\ta",
	"\x00", "é", "🙂", "\u2028", "{{ .Values }}", "../a", "/a", "/a/b", "/a b", "/a:b", "/a #b", "/a\"b", "/", "5s", "1h30m", "10", "0", "-1", "65536", "64Mi", "50%",
	"ClusterIP", "NodePort", "Always", "debug", "sha256:" + strings.Repeat("0a", 32), "localhost:5000/a", "0.0.0.0:80", ":80", "127.0.0.1:80", "cpu", "memory", "ClusterThing",
	"10.0.0.0/8", "fd00::/8", "metadata.name", "a=b", "a=b,c=d", "app.kubernetes.io/name", "prometheus", "config", "tmpfs", "/config", "100m",
	strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 128), strings.Repeat("a.", 126) + "a", strings.Repeat("a", 300),
}

// unusual returns a value of any type.
func unusual(random *rand.Rand, depth int) any {
	numbers := []float64{0, 1, -1, 2, 42, 80, 443, 65535, 65536, 1 << 31, 1<<31 - 1, 1e21, 0.5, 4.2}
	switch kind := random.IntN(10); {
	case kind < 5 || depth > 2:
		return unusualStrings[random.IntN(len(unusualStrings))]
	case kind < 7:
		return numbers[random.IntN(len(numbers))]
	case kind == 7:
		return []any{true, false, nil}[random.IntN(3)]
	case kind == 8:
		list := []any{}
		for range random.IntN(3) {
			list = append(list, unusual(random, depth+1))
		}
		return list
	default:
		entries := map[string]any{}
		for range random.IntN(3) {
			entries[unusualStrings[random.IntN(len(unusualStrings))]] = unusual(random, depth+1)
		}
		return entries
	}
}

// validParts are parts of objects that make sense to the API server, by the paths of the
// values.
func validParts() map[string][]string {
	resources := []string{`{}`, `{"limits": {"memory": "1Gi", "cpu": 2}, "requests": {"memory": "64Mi", "cpu": "10m", "ephemeral-storage": 1e6}}`, `{"limits": {"example.org/device": 1}}`}
	return map[string][]string{
		"app.approver.resources":    resources,
		"app.driver.resources":      resources,
		"app.driver.volumes":        {`[]`, `[{"name": "own", "secret": {"secretName": "own", "optional": true}}]`, `[{"name": "trust-bundle", "hostPath": {"path": "/a: b", "type": "Directory"}}]`},
		"app.driver.volumeMounts":   {`[]`, `[{"name": "pods", "mountPath": "/a #b"}]`, `[{"name": "tmpfs", "mountPath": "/trust-bundle", "mountPropagation": "None"}]`},
		"topologySpreadConstraints": {`[]`, `[{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"a": "b"}}}]`},
	}
}
