// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package repotest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the top of the repository, seen from this package's folder, where go
// test runs its tests.
const root = "../../.."

// module is the path of the main module; the paths of the nested ones begin
// with it too, followed by their folder.
const module = "github.com/csi-driver-spiffe/csi-driver-spiffe"

// A file is one parsed Go file.
type file struct {
	path string // slash-separated, from the top of the repository
	src  []byte
	fset *token.FileSet
	ast  *ast.File
}

func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// dir is the folder of the file, which is also the package's import path
// without the module.
func (f file) dir() string { return path.Dir(f.path) }

// pos says where a node is, as PATH:LINE.
func (f file) pos(n ast.Node) string {
	return f.path + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line)
}

// imports lists the import paths of the file.
func (f file) imports() []string {
	var paths []string
	for _, spec := range f.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// goFiles parses every Go file of the repository, nested modules included.
func goFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && skipDir(d.Name()):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		f, err := parseFile(name)
		if err == nil {
			files = append(files, f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no Go files below %s", root)
	}
	return files
}

// skipDir tells folders that hold no code of ours. Like the go command, it
// skips testdata and what begins with a dot or an underscore.
func skipDir(name string) bool {
	return name == "bin" || name == "testdata" || name[0] == '.' || name[0] == '_'
}

func parseFile(name string) (file, error) {
	src, err := os.ReadFile(name)
	if err != nil {
		return file{}, err
	}
	rel, err := filepath.Rel(root, name)
	if err != nil {
		return file{}, err
	}
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	return file{filepath.ToSlash(rel), src, fset, parsed}, err
}

// packages groups the files that are not tests by folder, in order.
func packages(files []file) (dirs []string, byDir map[string][]file) {
	byDir = map[string][]file{}
	for _, f := range files {
		if !f.isTest() {
			byDir[f.dir()] = append(byDir[f.dir()], f)
		}
	}
	return slices.Sorted(maps.Keys(byDir)), byDir
}
