// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/corpus"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// Keys are the same for all tests.
var keys = sync.OnceValue(csrtest.NewKeys)

// requests are those of testdata/requests.
func requests(t testing.TB) []corpus.File {
	t.Helper()
	files, err := corpus.Read("../../testdata/requests")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Every fault that a file is there for is found, and no other. What is wrong by
// the policy alone is not this package's business.
func TestParseCorpus(t *testing.T) {
	t.Parallel()
	for _, file := range requests(t) {
		if file.Verdict == policy.Ignore {
			continue // whatever is in it
		}
		t.Run(file.Name, func(t *testing.T) {
			t.Parallel()
			data, want := file.Request.Spec.Request, corpus.OfCSR(file.Want)
			check(t, data, want)
			if request, err := csr.Parse(data); err == nil {
				requireLoneID(t, data, request)
			}
		})
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
		if err != nil {
			t.Errorf("Parse: %v", err)
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
