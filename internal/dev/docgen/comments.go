// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// comments maps each field, as Type.Field, to its doc comment.
type comments map[string]string

// readComments reads the doc comments of all structs in a folder's Go source.
func readComments(folder string) (comments, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s: no Go source", folder)
	}
	found := comments{}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, found.visit)
	}
	return found, nil
}

func (c comments) visit(node ast.Node) bool {
	spec, ok := node.(*ast.TypeSpec)
	if !ok {
		return true
	}
	body, ok := spec.Type.(*ast.StructType)
	if !ok {
		return false
	}
	for _, field := range body.Fields.List {
		for _, name := range field.Names {
			c[spec.Name.Name+"."+name.Name] = field.Doc.Text()
		}
	}
	return false
}

// sentence makes a doc comment fit to stand beside the name: "Level is the least
// severe …" becomes "The least severe …".
func sentence(name, comment string) string {
	text := strings.Join(strings.Fields(comment), " ")
	if rest, found := strings.CutPrefix(text, name+" "); found {
		switch verb, _, _ := strings.Cut(rest, " "); verb {
		case "is", "are":
			text = strings.TrimPrefix(rest, verb+" ")
		case "in", "of": // "Size in bits", "Name of the issuer"
		default:
			text = rest
		}
	}
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}

// meaning is the sentence for a cell of a table.
func meaning(name, comment string) string {
	return strings.ReplaceAll(sentence(name, comment), "|", `\|`)
}
