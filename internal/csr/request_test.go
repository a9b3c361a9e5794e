// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

const corpus = "../../testdata/requests"

var update = flag.Bool("update", false, "write the files that testdata/requests lacks")

// Keys take seconds to make, so all tests share them.
var keys = sync.OnceValue(csrtest.NewKeys)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range csrtest.Cases(keys()) {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			check(t, test.PEM, test.Want)
		})
	}
}

// The files are the same cases as they were when they were written: with other
// keys, and perhaps by an older generator.
func TestCorpus(t *testing.T) {
	t.Parallel()
	want := map[string][]error{}
	for _, test := range csrtest.Cases(keys()) {
		want[test.Name+".pem"] = test.Want
		file := filepath.Join(corpus, test.Name+".pem")
		if _, err := os.Stat(file); *update && errors.Is(err, os.ErrNotExist) {
			if err := os.WriteFile(file, test.PEM, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(corpus, "*.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			faults, known := want[filepath.Base(file)]
			if !known {
				t.Fatal("csrtest has no such case: add it, or delete the file")
			}
			if strings.HasPrefix(filepath.Base(file), "bad-") != (len(faults) > 0) {
				t.Error("the name does not say the verdict")
			}
			check(t, data, faults)
		})
	}
	if len(files) != len(want) {
		t.Errorf("%d files for %d cases: run go test ./internal/csr -run TestCorpus -update", len(files), len(want))
	}
}

func check(t *testing.T, data []byte, want []error) {
	t.Helper()
	_, faults := csr.Inspect(data)
	if !slices.EqualFunc(faults, want, errors.Is) {
		t.Errorf("faults are %q, want %q", faults, want)
	}
	got, err := csr.Parse(data)
	if len(want) == 0 {
		if err != nil || got.ID.String() != csrtest.ID {
			t.Errorf("Parse = %v, %v, want ID %s", got, err, csrtest.ID)
		}
		return
	}
	if got != (csr.Request{}) {
		t.Errorf("Parse returns %v with an error, want nothing", got)
	}
	for _, fault := range want {
		if !errors.Is(err, fault) {
			t.Errorf("Parse returns error %v, want it to wrap %v", err, fault)
		}
	}
	for _, fault := range faults {
		if text := fault.Error(); len(text) > 1024 || strings.ContainsFunc(text, unprintable) {
			t.Errorf("fault is too long or has characters that do not print: %q", text)
		}
	}
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }

// A request that is wrong in several ways is refused with all of them.
func TestParseCollectsFaults(t *testing.T) {
	t.Parallel()
	data := csrtest.Good(keys().Main).With(
		func(t *csrtest.Template) { t.Version, t.Spoil = 2, true },
		csrtest.SubjectAttribute("root", 2, 5, 4, 3),
		csrtest.Names(csrtest.URI("SPIFFE://x/y"), csrtest.Element(0x82, []byte("example.org"))),
		csrtest.Extend(true, csrtest.Sequence(), 2, 5, 29, 19),
		csrtest.AlsoAttribute(csrtest.Element(0x0c, []byte("secret")), 1, 2, 840, 113549, 1, 9, 7),
	).PEM()
	check(t, data, []error{
		csr.ErrVersion, csr.ErrSubject, csr.ErrURI, csr.ErrSANType, csr.ErrSANCount,
		csr.ErrExtension, csr.ErrAttribute, csr.ErrSignature,
	})
}

// Base64 text that ends in bits which no byte takes up says the same in another way.
func TestParseRefusesOtherBase64(t *testing.T) {
	t.Parallel()
	for range 64 {
		data := csrtest.Good(keys().Main).PEM()
		before, after, padded := bytes.Cut(data, []byte("=\n---"))
		if !padded || bytes.HasSuffix(before, []byte("=")) {
			continue
		}
		before[len(before)-1]++
		check(t, slices.Concat(before, []byte("=\n---"), after), []error{csr.ErrPEM})
		return
	}
	t.Skip("no request of a length that leaves such bits")
}
