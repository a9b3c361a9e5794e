// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package repotest

import (
	"slices"
	"strings"
	"testing"
)

// A layer says what the packages of one folder may import of this module. What
// tests import is their own affair.
type layer struct {
	dir  string   // the folder, and those below it
	uses []string // folders, and those below them; its own need not be named
	pure bool     // whether it may do no input or output
}

// layers runs from the bottom to the top. The three pure ones decide what a
// certificate may say, and hostile input reaches them: without input and output
// they can be tested by the thousand in milliseconds. Nothing below the daemons
// knows the configuration file but config itself: it hands them plain values.
func layers() []layer {
	return []layer{
		{dir: "internal/spiffe", pure: true},
		{dir: "internal/csr", pure: true, uses: []string{"internal/spiffe"}},
		{dir: "internal/policy", pure: true, uses: []string{"internal/csr", "internal/spiffe"}},
		{dir: "internal/pemcerts", pure: true},
		{dir: "internal/filewatch"},
		{dir: "internal/listwatch"},
		{dir: "internal/certrequest", uses: []string{"internal/csr", "internal/policy"}},
		{dir: "config", uses: []string{"internal/filewatch", "internal/policy"}},
		{dir: "internal/volume"},
		{dir: "internal/trustbundle", uses: []string{"internal/filewatch", "internal/pemcerts"}},
		{dir: "internal/contents", uses: []string{"internal/trustbundle", "internal/volume"}},
		{dir: "internal/issuance", uses: []string{"internal/certrequest", "internal/csr", "internal/listwatch", "internal/pemcerts", "internal/policy", "internal/spiffe"}},
		{dir: "internal/daemon", uses: []string{"config"}},
		{dir: "internal/approver", uses: []string{
			"config", "internal/certrequest", "internal/csr", "internal/daemon", "internal/listwatch", "internal/policy", "internal/spiffe",
		}},
		// Within the driver, imports go one way. Only what wires it imports the server.
		{dir: "internal/driver/lifecycle", pure: true},
		{dir: "internal/driver/listing", uses: []string{"internal/daemon"}},
		{dir: "internal/driver/nodelock"},
		{dir: "internal/driver/socket"},
		{dir: "internal/driver/observe", uses: []string{
			"config", "internal/driver/lifecycle", "internal/driver/listing", "internal/issuance", "internal/policy", "internal/spiffe", "internal/trustbundle", "internal/volume",
		}},
		{dir: "internal/driver/mounts", uses: []string{"internal/driver/observe", "internal/volume"}},
		{dir: "internal/driver/delivery", uses: []string{
			"config", "internal/contents", "internal/driver/lifecycle", "internal/filewatch", "internal/issuance", "internal/pemcerts", "internal/trustbundle", "internal/volume",
		}},
		{dir: "internal/driver/requests", uses: []string{"internal/issuance"}},
		{dir: "internal/driver/manager", uses: []string{
			"config", "internal/driver/delivery", "internal/driver/lifecycle", "internal/driver/mounts", "internal/driver/observe", "internal/driver/requests",
			"internal/issuance", "internal/pemcerts", "internal/policy", "internal/spiffe", "internal/volume",
		}},
		{dir: "internal/driver/csiserver", uses: []string{
			"config", "internal/daemon", "internal/driver/delivery", "internal/driver/manager", "internal/driver/mounts", "internal/driver/observe",
			"internal/driver/socket", "internal/issuance", "internal/spiffe", "internal/volume",
		}},
		{dir: "internal/driver", uses: []string{"config", "internal/issuance", "internal/volume"}},
		{dir: "cmd", uses: []string{"config", "internal/approver", "internal/daemon", "internal/driver"}},

		// Around the product, and not shipped; free to use whatever helps.
		{dir: "internal/dev/corpus", uses: []string{"config", "internal/csr", "internal/policy", "internal/spiffe"}},
		{dir: "internal/dev/testkit", uses: []string{""}},
		{dir: "internal/dev/bench/result"},
		// A module of its own: of the main one it knows only what a run is kept as.
		{dir: "internal/dev/bench/report", uses: []string{"internal/dev/bench/result"}},
		{dir: "internal/dev/bench", uses: []string{""}},
		{dir: "internal/dev/demo", uses: []string{""}},
		{dir: "internal/dev/docgen", uses: []string{""}},
		{dir: "internal/dev/e2e", uses: []string{""}},
		{dir: "internal/dev/integration", uses: []string{""}},
		{dir: "internal/dev/manifests", uses: []string{""}},
		{dir: "internal/dev/scale", uses: []string{""}},
		{dir: "internal/dev/torture", uses: []string{""}},
		{dir: "internal/dev/repotest"},

		// A module of its own: a cluster knows nothing of who uses it.
		{dir: "internal/dev/devcluster"},
		// Another: what it makes images of is given to it.
		{dir: "internal/dev/tools/image"},
		{dir: "internal/dev/tools/step-ca"},
	}
}

// ioPackages are the packages that no pure layer imports, nor any below them.
// net/url is not I/O and stays free.
func ioPackages() []string {
	return []string{
		"io/fs", "io/ioutil", "log", "net", "os", "syscall", "golang.org/x/sys",
		"google.golang.org/grpc", "k8s.io/client-go", "sigs.k8s.io/controller-runtime",
	}
}

func TestEachPackageImportsOnlyWhatItsLayerMay(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		if f.isTest() {
			continue
		}
		l, ok := layerOf(f.dir())
		if !ok {
			t.Errorf("%s: %s is in no layer: give it one in layers_test.go", f.path, f.dir())
			continue
		}
		for _, imported := range f.imports() {
			if why := l.refuses(imported); why != "" {
				t.Errorf("%s imports %s: %s", f.path, imported, why)
			}
		}
	}
}

// What is shipped is cmd, config and internal, without internal/dev. Its tests may
// use internal/dev; internal/dev/corpus is made for those of the pure packages.
func TestProductImportsNothingOfInternalDev(t *testing.T) {
	t.Parallel()
	for _, f := range goFiles(t) {
		if f.isTest() || within(f.dir(), "internal/dev") {
			continue
		}
		for _, imported := range f.imports() {
			if within(imported, module+"/internal/dev") {
				t.Errorf("%s imports %s: internal/dev tests, measures and generates, and no part of it is shipped", f.path, imported)
			}
		}
	}
}

func layerOf(dir string) (layer, bool) {
	for _, l := range layers() {
		if within(dir, l.dir) {
			return l, true
		}
	}
	return layer{}, false
}

// refuses says why a package of this layer may not import a path, or "".
func (l layer) refuses(imported string) string {
	if l.pure && imported != "net/url" && slices.ContainsFunc(ioPackages(), func(p string) bool { return within(imported, p) }) {
		return l.dir + " does no input or output"
	}
	dir, ours := strings.CutPrefix(imported, module+"/")
	if !ours || within(dir, l.dir) || slices.ContainsFunc(l.uses, func(d string) bool { return within(dir, d) }) {
		return ""
	}
	if len(l.uses) == 0 {
		return l.dir + " stands on no other package of this module"
	}
	return l.dir + " may import only " + strings.Join(l.uses, ", ")
}

// within tells whether a slash-separated path is dir or below it. Everything is
// below "".
func within(name, dir string) bool {
	return dir == "" || name == dir || strings.HasPrefix(name, dir+"/")
}

func TestLayerRefuses(t *testing.T) {
	t.Parallel()
	pure := layer{dir: "internal/csr", pure: true, uses: []string{"internal/spiffe"}}
	free := layer{dir: "internal/dev/demo", uses: []string{""}}
	for _, row := range []struct {
		name, imported string
		layer          layer
		refused        bool
	}{
		{"standard library", "crypto/x509", pure, false},
		{"its own folder", module + "/internal/csr/csrtest", pure, false},
		{"a layer below", module + "/internal/spiffe", pure, false},
		{"a layer above", module + "/internal/policy", pure, true},
		{"a folder whose name begins alike", module + "/internal/spiffery", pure, true},
		{"files", "os", pure, true},
		{"below an I/O package", "net/http", pure, true},
		{"addresses are not I/O", "net/url", pure, false},
		{"an I/O library", "k8s.io/client-go/kubernetes", pure, true},
		{"files, where it may", "os", free, false},
		{"anything, where it may", module + "/internal/driver", free, false},
	} {
		if why := row.layer.refuses(row.imported); (why != "") != row.refused {
			t.Errorf("%s: %s may import %s: got refusal %q, want refused %v", row.name, row.layer.dir, row.imported, why, row.refused)
		}
	}
}
