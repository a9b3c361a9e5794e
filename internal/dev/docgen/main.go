// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command docgen writes what is made from the Go types of the configuration
// file: their doc comments, types, tags and defaults. That is the reference in
// README.md, between the lines
//
//	<!-- BEGIN CONFIG REFERENCE -->
//	<!-- END CONFIG REFERENCE -->
//
// and config/schema.json, the JSON Schema for editors. So what users read is
// what the code says. Run it from the top of the repository when the types have
// changed:
//
//	go run ./internal/dev/docgen
//
// The Helm chart's README.md and values.schema.json are made in the same way from
// its values.yaml; see package chart.
//
// With -check it changes nothing, and fails when something is out of date.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
)

// options are where everything is.
type options struct {
	readme, schema, types string
	chart                 string
	check                 bool
}

func main() {
	var o options
	flag.StringVar(&o.readme, "readme", "README.md", "`file` to write the reference into")
	flag.StringVar(&o.schema, "schema", "config/schema.json", "`file` of the JSON Schema")
	flag.StringVar(&o.types, "types", "config/v1alpha1", "`folder` of the Go source of the types")
	flag.StringVar(&o.chart, "chart", "manifests/helm/csi-driver-spiffe", "`folder` of the Helm chart")
	flag.BoolVar(&o.check, "check", false, "only check that the files are up to date")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

// errOutdated is returned by run when it was to check only.
var errOutdated = errors.New("out of date: run go run ./internal/dev/docgen")

func run(o options) error {
	docs, err := readComments(o.types)
	if err != nil {
		return err
	}
	return errors.Join(
		update(o.readme, o.check, func(old []byte) ([]byte, error) {
			table, err := reference(docs)
			if err != nil {
				return nil, err
			}
			return replace(old, configReference, table)
		}),
		update(o.schema, o.check, func([]byte) ([]byte, error) { return jsonSchema(docs) }),
		updateChart(o, docs),
	)
}

// update makes the content of a file from what it is, which is nothing if there
// is no file yet.
func update(path string, check bool, content func(old []byte) ([]byte, error)) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	updated, err := content(old)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case bytes.Equal(old, updated):
		return nil
	case check:
		return fmt.Errorf("%s: %w", path, errOutdated)
	default:
		return os.WriteFile(path, updated, 0o644)
	}
}
