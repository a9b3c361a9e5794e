// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/corpus"
)

// emptyFolder has a configuration and no requests.
func emptyFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(filepath.Join(folder, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, "config.yaml", string(data))
	return dir
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Writing adds, mends and removes, and leaves alone what is right.
func TestWrite(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	cases := corpus.Cases(csrtest.NewKeys())[:3]
	write := func(want ...string) {
		t.Helper()
		changed, err := corpus.Write(dir, cases)
		if err != nil || !slices.Equal(changed, want) {
			t.Errorf("changed %q, %v, want %q", changed, err, want)
		}
	}
	first, second, third := cases[0].Name+".yaml", cases[1].Name+".yaml", cases[2].Name+".yaml"
	write(first, second, third)
	write()
	put(t, dir, second, "something else")
	put(t, dir, "bad-without-case.yaml", "")
	if err := os.Remove(filepath.Join(dir, third)); err != nil {
		t.Fatal(err)
	}
	write(second, third, "bad-without-case.yaml")
	files, err := corpus.Read(dir)
	if err != nil || len(files) != len(cases) {
		t.Errorf("%d files, %v, want %d", len(files), err, len(cases))
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	const object = "apiVersion: cert-manager.io/v1\nkind: CertificateRequest\nspec: {issuerRef: {name: a}, request: ''}\n"
	for name, test := range map[string]struct{ file, text, want string }{
		"no files":         {"", "", "no requests"},
		"no YAML":          {"good-a", "}", "good-a.yaml"},
		"unknown field":    {"good-a", object + "metadata: {name: good-a}\nextra: 1\n", "extra"},
		"another name":     {"good-a", object + "metadata: {name: good-b}\n", "must be that of the file"},
		"another prefix":   {"fine-a", object + "metadata: {name: fine-a}\n", "the name must begin with"},
		"bad, no reason":   {"bad-a", object + "metadata: {name: bad-a}\n", "the name must begin with"},
		"good, a reason":   {"good-a", object + "metadata: {name: good-a, annotations: {testdata/denied-for: csr.ErrKey}}\n", "the name must begin with"},
		"unknown sentinel": {"bad-a", object + "metadata: {name: bad-a, annotations: {testdata/denied-for: csr.ErrNot}}\n", `no sentinel error "csr.ErrNot"`},
		"unknown key":      {"good-a", object + "metadata: {name: good-a, annotations: {testdata/policy-key: RSA 1}}\n", `no key "RSA 1"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := emptyFolder(t)
			if test.file != "" {
				put(t, dir, test.file+".yaml", test.text)
			}
			if _, err := corpus.Read(dir); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
	if _, err := corpus.Read(t.TempDir()); err == nil {
		t.Error("reads a folder without configuration")
	}
}
