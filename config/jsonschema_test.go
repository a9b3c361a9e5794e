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
