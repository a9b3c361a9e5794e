// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Generate writes testdata/requests, one file for each case of package corpus.
// It is run from the root of the repository, by `make generate`. Files whose
// case has not changed stay as they are.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/corpus"
)

func main() {
	changed, err := corpus.Write(filepath.Join("testdata", "requests"), corpus.Cases(csrtest.NewKeys()))
	for _, name := range changed {
		fmt.Println("testdata/requests/" + name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
