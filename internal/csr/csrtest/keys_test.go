// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package csrtest_test

import (
	"bytes"
	"crypto/rsa"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
)

// The files of testdata/requests can be made again only if nothing is left to
// chance, with any kind of key.
func TestTheSameEveryTime(t *testing.T) {
	t.Parallel()
	first, second := csrtest.NewKeys(), csrtest.NewKeys()
	if len(first.ByName) != len(csr.KeySpecs()) {
		t.Errorf("%d keys for %d specifications", len(first.ByName), len(csr.KeySpecs()))
	}
	for name, key := range first.ByName {
		if !first.Spec(name).Matches(key.Public()) {
			t.Errorf("%s is no sound %s", name, first.Spec(name))
		}
		if rsaKey, ok := key.(*rsa.PrivateKey); ok {
			if err := rsaKey.Validate(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		made := csrtest.Good(key).PEM()
		if !bytes.Equal(made, csrtest.Good(second.ByName[name]).PEM()) {
			t.Errorf("%s: another request the second time", name)
		}
		if _, err := csr.Parse(made); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
