// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
)

// Fields that are neither required nor have a default but what Go begins with.
var optional = []string{
	"volume.files.credentialBundle", "volume.files.spiffeBundle", "volume.files.storePassword.file",
	"volume.files.pkcs12.keystore", "volume.files.pkcs12.truststore", "volume.files.jks.keystore", "volume.files.jks.truststore",
	"volume.defaultFSGroup", "volume.tmpfsSize", "trustBundle.path", "certificate.renewBefore",
	"certificate.requestAnnotations", "driver.kubeAPIQPS", "driver.kubeAPIBurst",
	"approver.approveOthers", "approver.kubeAPIQPS", "approver.kubeAPIBurst", "driver.profilingAddress", "approver.profilingAddress",
}

// Fields whose rules no validate tag says: each value is good, or package
// config has the rule.
var untagged = []string{
	"certificate.privateKey.size", "certificate.requestAnnotations", "approver.leaderElection.enabled", "approver.approveOthers",
	"trustBundle.required",
}

// A field that somebody adds is documented, has a rule, says what a change of it
// asks of running daemons, and is required, has a default or is known not to.
func TestFields(t *testing.T) {
	t.Parallel()
	defaults := v1alpha1.Default()
	defaults.Complete()
	docs := fieldDocs(t)
	walk("", reflect.ValueOf(defaults).Elem(), func(path, owner string, field reflect.StructField, value reflect.Value) {
		doc := docs[owner+"."+field.Name]
		if !strings.HasPrefix(doc, field.Name+" ") || !strings.HasSuffix(doc, ".") {
			t.Errorf("%s: doc comment must begin with %s and end with a full stop: %q", path, field.Name, doc)
		}
		tag := field.Tag.Get("validate")
		isSection := field.Type.Kind() == reflect.Struct && !isDuration(field.Type)
		if tag == "" && !isSection && !slices.Contains(untagged, path) {
			t.Errorf("%s: has no validate tag, nor is it listed as untagged", path)
		}
		if value.IsZero() && !strings.Contains(tag, "required") && !slices.Contains(optional, path) && !isSection {
			t.Errorf("%s: is not required, has no default, nor is it listed as optional", path)
		}
		if !isSection {
			checkBounds(t, path, tag, doc)
			checkChange(t, path, field.Tag.Get("change"))
		}
	})
}

// checkChange reads a change tag: hot, reissue or restart, and of which daemon a
// restart.
func checkChange(t *testing.T, path, tag string) {
	t.Helper()
	switch tag {
	case "hot", "hot,reissue", "reissue", "restart", "restart,driver", "restart,driver,reissue", "restart,approver":
	default:
		t.Errorf("%s: not a change tag: %q", path, tag)
	}
	owner, _, _ := strings.Cut(path, ".")
	if (owner == "driver" || owner == "approver") && strings.HasPrefix(tag, "restart") && !strings.HasPrefix(tag, "restart,"+owner) {
		t.Errorf("%s: change tag must name the %s: %q", path, owner, tag)
	}
}

// checkBounds finds the limits of a validate tag in the doc comment.
func checkBounds(t *testing.T, path, tag, doc string) {
	t.Helper()
	for rule := range strings.SplitSeq(tag, ",") {
		name, param, _ := strings.Cut(rule, "=")
		var words []string
		switch name {
		case "min", "max", "eq":
			words = []string{param}
		case "oneof":
			words = strings.Fields(param)
		}
		for _, word := range words {
			if !strings.Contains(doc, word) {
				t.Errorf("%s: doc comment does not say %s, which the validate tag does: %q", path, word, doc)
			}
		}
	}
}

func walk(path string, v reflect.Value, visit func(path, owner string, field reflect.StructField, value reflect.Value)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		at := strings.TrimPrefix(path+"."+name, ".")
		visit(at, v.Type().Name(), field, v.Field(i))
		if field.Type.Kind() == reflect.Struct && !isDuration(field.Type) {
			walk(at, v.Field(i), visit)
		}
	}
}

func isDuration(t reflect.Type) bool { return t.Name() == "Duration" }

// fieldDocs maps Type.Field to its doc comment, in one line.
func fieldDocs(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if body, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range body.Fields.List {
					for _, name := range field.Names {
						docs[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
					}
				}
			}
			return true
		})
	}
	return docs
}

func TestComplete(t *testing.T) {
	t.Parallel()
	for algorithm, want := range map[string]int{"ECDSA": 521, "RSA": 3072, "Ed25519": 0, "unknown": 0} {
		c := v1alpha1.Default()
		c.Certificate.PrivateKey.Algorithm = algorithm
		c.Complete()
		if got := c.Certificate.PrivateKey.Size; got != want {
			t.Errorf("%s: size %d, want %d", algorithm, got, want)
		}
	}
}

// Two defaults share nothing that could be written to.
func TestDefaultIsFresh(t *testing.T) {
	t.Parallel()
	v1alpha1.Default().Certificate.RequestAnnotations["a"] = "b"
	if n := len(v1alpha1.Default().Certificate.RequestAnnotations); n != 0 {
		t.Errorf("default has %d annotations", n)
	}
}
