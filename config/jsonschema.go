// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import _ "embed"

//go:generate go -C .. run ./internal/dev/docgen

//go:embed schema.json
var schemaJSON string

// JSONSchema is the JSON Schema (draft 7) of the file, with which editors
// complete and check it: what --print-schema prints. It is made from package
// v1alpha1. What [Parse] takes satisfies it. The converse does not hold: JSON
// Schema cannot calculate with durations nor compare two fields, so Parse has
// the last word.
func JSONSchema() string { return schemaJSON }
