// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package repotest

import (
	"bytes"
	"fmt"
	"go/ast"
	"strings"
	"testing"
)

const header = "// Copyright The csi-driver-spiffe Authors.\n// SPDX-License-Identifier: Apache-2.0\n"

func TestEachPackageHasOnePackageComment(t *testing.T) {
	t.Parallel()
	dirs, byDir := packages(goFiles(t))
	for _, dir := range dirs {
		var commented []string
		for _, f := range byDir[dir] {
			if f.ast.Doc == nil {
				continue
			}
			commented = append(commented, f.path)
			if text, want := f.ast.Doc.Text(), commentStart(f); !strings.HasPrefix(text, want) {
				t.Errorf("%s: the package comment should begin with %q", f.path, want)
			}
		}
		switch len(commented) {
		case 1:
		case 0:
			t.Errorf("%s: no package comment: say what the package is for and how it is used", dir)
		default:
			t.Errorf("%s: go doc joins the package comments of %s: keep one", dir, strings.Join(commented, ", "))
		}
	}
}

// commentStart is how the package comment of f has to begin. That of a command
// begins with its name or "Command", which differ; a sentence will do.
func commentStart(f file) string {
	if f.ast.Name.Name == "main" {
		return ""
	}
	return "Package " + f.ast.Name.Name + " "
}

func TestEachFileHasTheLicenceHeader(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		if !bytes.HasPrefix(f.src, []byte(header)) {
			t.Errorf("%s: should begin with these two lines:\n%s", f.path, header)
		}
	}
}

func TestNoInit(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		for _, decl := range f.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init runs behind the reader's back: make it a function that main calls", f.pos(fn))
			}
		}
	}
}

func TestOnlyMainEndsTheProcess(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		if f.isTest() || f.ast.Name.Name == "main" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if call := endsProcess(n); call != "" {
				t.Errorf("%s: %s outside main: return an error", f.pos(n), call)
			}
			return true
		})
	}
}

// endsProcess gives the name of the function that n calls to end the process,
// or "". Packages are told by their names, which nobody here renames.
func endsProcess(n ast.Node) string {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	pkg, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	switch call := fmt.Sprintf("%s.%s", pkg.Name, sel.Sel.Name); call {
	case "os.Exit", "syscall.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln", "klog.Fatal", "klog.Fatalf":
		return call
	}
	return ""
}
