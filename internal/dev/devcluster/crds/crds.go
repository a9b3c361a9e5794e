// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crds holds the CustomResourceDefinitions of the kinds that a devcluster
// has controllers for: cert-manager's Certificate, CertificateRequest, Issuer and
// ClusterIssuer, and the Gateway API's Gateway.
//
// The others are left out so that creating, say, an Order fails at once instead
// of waiting for a controller that is not there.
//
// A program cannot embed files of another module, so they are copied here by
// go generate, one definition a line and without the descriptions, which are
// nine tenths of the originals and validate nothing. A test compares them with
// the versions of the modules in go.mod.
package crds

import (
	"bytes"
	_ "embed" // for the definitions
	"encoding/json"
	"fmt"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

//go:generate go run ./update -o definitions.jsonl

//go:embed definitions.jsonl
var definitions []byte

// All returns the definitions.
func All() ([]*apiextensions.CustomResourceDefinition, error) {
	var all []*apiextensions.CustomResourceDefinition
	for line := range bytes.Lines(definitions) {
		crd := new(apiextensions.CustomResourceDefinition)
		if err := json.Unmarshal(line, crd); err != nil {
			return nil, fmt.Errorf("embedded definition %d: %w", len(all)+1, err)
		}
		all = append(all, crd)
	}
	return all, nil
}
