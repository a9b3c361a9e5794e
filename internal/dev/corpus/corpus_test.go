// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/corpus"
)

const folder = "../../../testdata/requests"

func read(t testing.TB) []corpus.File {
	t.Helper()
	files, err := corpus.Read(folder)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// The folder is what the table makes of it, byte for byte.
func TestFilesAreThoseOfTheCases(t *testing.T) {
	t.Parallel()
	cases := corpus.Cases(csrtest.NewKeys())
	if len(cases) < 150 {
		t.Errorf("%d cases, want 150 at least", len(cases))
	}
	names := map[string]bool{}
	for _, c := range cases {
		if names[c.Name] {
			t.Errorf("two cases are called %s", c.Name)
		}
		names[c.Name] = true
		if c.Why == "" || strings.HasPrefix(c.Name, "bad-") != (len(c.Want) > 0) {
			t.Errorf("%s: says not why, or the name does not say the verdict", c.Name)
		}
		want, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(folder, c.Name+".yaml")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what its case makes of it (%v): run make generate", c.Name, err)
		}
	}
	for _, file := range read(t) {
		if !names[file.Name] {
			t.Errorf("%s has no case: run make generate", file.Name)
		}
	}
}
