// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/corpus"
)

// Every error that a request can be denied with has a name here, and a file.
func TestEverySentinelHasACase(t *testing.T) {
	t.Parallel()
	named := corpus.Sentinels()
	// The first two are wrapped around others, and the rest is about requests to
	// other issuers.
	exempt := []string{
		"policy.ErrRequest", "policy.ErrPolicy",
		"csr.ErrCarriesSPIFFE", "csr.ErrAsksForCA", "policy.ErrFormerIssuer", "policy.ErrOtherCA",
	}
	for _, name := range slices.Concat(sentinelsIn(t, "csr"), sentinelsIn(t, "policy")) {
		if _, ok := named[name]; !ok && !slices.Contains(exempt, name) {
			t.Errorf("%s is not in Sentinels", name)
		}
	}
	used := map[error]bool{}
	for _, file := range read(t) {
		for _, sentinel := range file.Want {
			used[sentinel] = true
		}
	}
	for name, sentinel := range named {
		if !used[sentinel] {
			t.Errorf("no request is denied with %s", name)
		}
	}
}

// sentinelsIn lists the exported errors of a package.
func sentinelsIn(t *testing.T, name string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "..", name, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for object := range file.Scope.Objects {
			if file.Scope.Objects[object].Kind == ast.Var && strings.HasPrefix(object, "Err") && !strings.HasSuffix(path, "_test.go") {
				found = append(found, name+"."+object)
			}
		}
	}
	if len(found) < 5 {
		t.Fatalf("only %d errors found in package %s", len(found), name)
	}
	return found
}

func TestOfCSR(t *testing.T) {
	t.Parallel()
	named := corpus.Sentinels()
	got := corpus.OfCSR([]error{named["csr.ErrKey"], named["policy.ErrKey"], named["csr.ErrURI"]})
	if !slices.Equal(got, []error{named["csr.ErrKey"], named["csr.ErrURI"]}) {
		t.Errorf("got %q", got)
	}
}
