// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command docgen writes the reference of the configuration file into README.md,
// between the lines
//
//	<!-- BEGIN CONFIG REFERENCE -->
//	<!-- END CONFIG REFERENCE -->
//
// from the Go types of the file: their doc comments, types, tags and defaults.
// So what users read is what the code says. Run it from the top of the
// repository when the types have changed:
//
//	go run ./internal/docgen
//
// With -check it changes nothing, and fails when README.md is out of date.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	readme := flag.String("readme", "README.md", "`file` to write the reference into")
	types := flag.String("types", "config/v1alpha1", "`folder` of the Go source of the types")
	check := flag.Bool("check", false, "only check that the file is up to date")
	flag.Parse()
	if err := run(*readme, *types, *check); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

// errOutdated is returned by run when it was to check only.
var errOutdated = errors.New("the config reference is out of date: run go run ./internal/docgen")

func run(readme, types string, check bool) error {
	table, err := reference(types)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	updated, err := replace(old, table)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", readme, err)
	case bytes.Equal(old, updated):
		return nil
	case check:
		return fmt.Errorf("%s: %w", readme, errOutdated)
	default:
		return os.WriteFile(readme, updated, 0o644)
	}
}
