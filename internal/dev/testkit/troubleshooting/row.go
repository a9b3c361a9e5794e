// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package troubleshooting holds the tables of README's section Troubleshooting
// to what the programs really say. Each of their rows begins with what somebody
// sees, and some test provokes just that, on the real thing, and says so:
//
//	troubleshooting.Row("denied by approver: …").Seen(t, message)
//
// which fails unless README has that row, word for word, and the message is what
// it describes. Package repotest sees to it that no row is without such a test,
// nor the other way round; [Run], in the TestMain of a package, that the tests
// really got there.
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
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Row is what somebody sees: the code at the beginning of a row of README's
// tables, without the backquotes. An ellipsis (…) stands for anything, in one
// line. It is a constant in the code of the test that provokes it.
type Row string

// In reports whether a text has what the row describes in it. Quotation marks
// may be escaped, as in a log.
func (r Row) In(said string) bool {
	parts := strings.Split(string(r), "…")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	return regexp.MustCompile(strings.Join(parts, ".*")).MatchString(strings.ReplaceAll(said, `\"`, `"`))
}

// Seen fails the test unless README has the row, and said, which somebody has
// really been told, is what it describes. It may be called from any goroutine.
func (r Row) Seen(t testing.TB, said string) {
	t.Helper()
	rows, err := Documented()
	switch {
	case err != nil:
		t.Error(err)
	case rows[r].line == 0:
		t.Errorf("README has no row in its section Troubleshooting that begins with `%s`", r)
	case !r.In(said):
		t.Errorf("README says that people see `%s`, and they see: %.2000s", r, said)
	default:
		witnessed.Store(r, true)
	}
}

// witnessed has the rows that were seen in this process.
var witnessed sync.Map

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
