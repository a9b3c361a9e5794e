// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// beyondSchema are the bad files that satisfy the schema, with the reason why no
// schema can refuse them.
var beyondSchema = map[string]string{
	"bad-duration-4s.yaml":                                 calculates,
	"bad-duration-eleven-years.yaml":                       calculates,
	"bad-duration-overflow.yaml":                           calculates,
	"bad-publish-timeout-too-long.yaml":                    calculates,
	"bad-rollout-window-too-long.yaml":                     calculates,
	"bad-tmpfs-size-fraction.yaml":                         calculates,
	"bad-tmpfs-size-too-high.yaml":                         calculates,
	"bad-tmpfs-size-too-low.yaml":                          calculates,
	"bad-renew-before-not-less-than-default-duration.yaml": compares,
	"bad-renew-before-not-less-than-duration.yaml":         compares,
	"bad-lease-duration-not-over-deadline.yaml":            compares,
	"bad-renew-deadline-not-over-retry.yaml":               compares,
	"bad-profiling-address-port-of-http.yaml":              compares,
	"bad-file-names-equal.yaml":                            compares,
	"bad-file-names-all-equal.yaml":                        compares,
	"bad-file-name-equals-default.yaml":                    compares,
	"bad-alias.yaml":                                       syntax,
	"bad-merge-key.yaml":                                   syntax,
	"bad-tag-explicit.yaml":                                syntax,
	"bad-fs-group-octal.yaml":                              syntax,
	"bad-documents-two.yaml":                               syntax,
}

const (
	calculates = "a schema cannot calculate: durations and sizes are strings to it"
	compares   = "a schema cannot compare two values"
	syntax     = "a schema sees the values of one document, not how they are written"
)

func TestSchemaTakesGoodFiles(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	for _, path := range append(glob(t, "good-*.yaml"), testdata+"/demo.yaml") {
		if err := checkSchema(schema, []byte(read(t, path))); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSchemaRefusesBadFiles(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	for _, path := range glob(t, "bad-*.yaml") {
		name := filepath.Base(path)
		reason, listed := beyondSchema[name]
		err := checkSchema(schema, []byte(read(t, path)))
		switch {
		case err == nil && !listed:
			t.Errorf("%s satisfies the schema: make that refuse it, or list it in beyondSchema with the reason", name)
		case err != nil && listed:
			t.Errorf("%s is listed in beyondSchema (%s) but is refused: %v", name, reason, err)
		}
	}
	for name := range beyondSchema {
		if _, err := os.Stat(filepath.Join(testdata, name)); err != nil {
			t.Errorf("listed in beyondSchema: %v", err)
		}
	}
}

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(config.JSONSchema())))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// checkSchema holds each document of a file against the schema, as an editor
// does. What is no YAML an editor refuses without it.
func checkSchema(schema *jsonschema.Schema, data []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for documents := 0; ; documents++ {
		var value any
		err := decoder.Decode(&value)
		switch {
		case errors.Is(err, io.EOF) && documents > 0:
			return nil
		case errors.Is(err, io.EOF):
			return schema.Validate(nil)
		case err != nil:
			return fmt.Errorf("not YAML: %w", err)
		}
		if err := schema.Validate(asJSON(value)); err != nil {
			return err
		}
	}
}

// asJSON makes all keys strings, as editors do before they look at a schema.
func asJSON(value any) any {
	object := map[string]any{}
	switch mapping := value.(type) {
	case map[string]any:
		for key, value := range mapping {
			object[key] = asJSON(value)
		}
	case map[any]any:
		for key, value := range mapping {
			object[fmt.Sprint(key)] = asJSON(value)
		}
	default:
		return value
	}
	return object
}

// The schema's patterns and the rules in Go refuse and take the same strings.
func TestSchemaAgreesOnStrings(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	const base = "apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1\nkind: SPIFFEConfiguration\n"
	const rest = "trustDomain: a\nissuerRef: {name: ca}\n"
	long := strings.Repeat("a", 63)
	for template, values := range map[string][]string{
		base + "trustDomain: %s\nissuerRef: {name: ca}\n": {
			"", "a", "my.trust.domain", "a_b-c", "A", "a b", "a/b", "a:1", "spiffe://a", "é", strings.Repeat("a", 255), strings.Repeat("a", 256),
		},
		base + "trustDomain: a\nissuerRef: {name: %s}\n": {
			"", "a", "a.b", "a-b", "0", "-a", "a-", "a..b", ".a", "a.", "A", "a_b", strings.Repeat("a", 253), strings.Repeat("a", 254),
		},
		base + rest + "driver: {httpAddress: %s}": {
			"", ":1", ":080", ":65535", ":65536", ":0", ":", ":a", "1", "host:1", "HOST.example:1", "a_b:1", "1.2.3.4:5", "[::1]:1", "[1.2.3.4]:1",
			"[a.b]:1", "[]:1", "::1:1", "[a_b]:1", "http://a:1",
		},
		base + rest + "volume: {tmpfsPath: %s}": {
			"", "a", "/", "/a", "/a/b", "//", "/a/", "/a//b", "/.", "/..", "/...", "/.a", "/..a", "/a/..b", "/a/./b", "/a/../b", "/a b", "/é", "/a\nb", "/a\x7f",
		},
		base + rest + "trustBundle: {path: %s}": {"", "/", "/a", "a"},
		base + rest + "volume: {files: {certificate: %s}}": {
			"", "a", ".a", "a.", "a..b", ".", "..", "..a", "...", "a/b", `a\b`, "a b", "é", "a\tb", "\u0085", strings.Repeat("a", 255), strings.Repeat("a", 256),
		},
		base + rest + "volume: {files: {jks: {keystore: %s}}}":                    {"", "a", "..a", "a/b", "tls.key"[:3]},
		base + rest + "volume: {files: {storePassword: {value: %s}}}":             {"", "short", "enough", "with space", "tab\tinside", "é=accented", strings.Repeat("a", 128), strings.Repeat("a", 129)},
		base + rest + "volume: {files: {storePassword: {value: '', file: %s}}}":   {"", "a", "..a"},
		base + rest + "volume: {files: {storePassword: {file: %s, value: null}}}": {"", "a", "a/b"},
		base + rest + "certificate: {duration: %s}": {
			"", "1h", "+1h", "-1h", ".5h", "1.h", "1h1.5m", "60000ms", "60000000us", "60000000µs", "60000000μs", "6e3s", "0", "0s", "0h0m", "1", "1d", "h", ".h", "1h ", "1 h",
		},
		base + rest + "certificate: {requestAnnotations: {%s: x}}": {
			"", "a", "A_b.c-d", "-a", "a-", "a/b", "Example.org/X", "a/b/c", "/a", "a/", "a..b/c", "a_b/c", "é", long, long + "a", "a/" + long, "a/" + long + "a",
			"cert-manager.io/a", "CERT-manager.io/a", "x.cert-manager.io/a", "spiffe.csi.cert-manager.io/a", "x.spiffe.csi.cert-manager.io/a",
			"kubernetes.io/a", "a.k8s.io/b", "xk8s.io/b", "a.K8S.io/b", "k8s.io.a/b", "k8s.io",
		},
		base + "trustDomain: a\nissuerRef: {name: a, kind: %s, group: a}\n": {"", "A", "Ab9", "a", "A_b", "A" + long[1:], "A" + long},
	} {
		for _, value := range values {
			text := fmt.Sprintf(template, fmt.Sprintf("%q", value))
			_, parseErr := config.Parse("config.yaml", []byte(text))
			schemaErr := checkSchema(schema, []byte(text))
			if (parseErr == nil) != (schemaErr == nil) {
				t.Errorf("%s\nParse says: %v\nthe schema says: %v", text, parseErr, schemaErr)
			}
		}
	}
}

// Examples tell editors where the schema is. The file that begins with a byte
// order mark cannot.
func TestExamplesNameTheSchema(t *testing.T) {
	t.Parallel()
	for _, path := range append(glob(t, "good-*.yaml"), testdata+"/demo.yaml") {
		text := read(t, path)
		if !strings.HasPrefix(text, "# yaml-language-server: $schema=../../config/schema.json\n") && !strings.HasPrefix(text, "\ufeff") {
			t.Errorf("%s does not begin with the line that names the schema", path)
		}
	}
}
