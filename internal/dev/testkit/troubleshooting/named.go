// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package troubleshooting

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// Named returns the rows that are named in a test's code, each with its position:
// the constants in conversions to [Row].
func Named(fset *token.FileSet, file *ast.File) map[Row]token.Position {
	rows := map[Row]token.Position{}
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 {
			return true
		}
		conversion, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || conversion.Sel.Name != "Row" {
			return true
		}
		if pkg, ok := conversion.X.(*ast.Ident); !ok || pkg.Name != "troubleshooting" {
			return true
		}
		if literal, ok := call.Args[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if row, err := strconv.Unquote(literal.Value); err == nil {
				rows[Row(row)] = fset.Position(literal.Pos())
			}
		}
		return true
	})
	return rows
}

// Run runs the tests of a package, and returns the code for os.Exit. It fails, too,
// if they all pass, and some row that the package names was not seen. That is
// asked of complete runs only: with all that the tests need at hand, as the caller
// says, and not of a selection of them.
func Run(m *testing.M, complete bool) int {
	code := m.Run()
	if code != 0 || !complete || selected() {
		return code
	}
	rows, err := namedHere()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		if _, ok := witnessed.Load(row); !ok {
			fmt.Fprintf(os.Stderr, "%s: no test got so far as to see `%s`\n", rows[row], row)
			code = 1
		}
	}
	return code
}

// selected reports whether not all of the tests were to be run.
func selected() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return true
		}
	}
	return testing.Short()
}

// namedHere returns the rows that the tests of this package name.
func namedHere() (map[Row]token.Position, error) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		return nil, err
	}
	all := map[Row]token.Position{}
	for _, name := range files {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, Named(fset, file))
	}
	return all, nil
}
