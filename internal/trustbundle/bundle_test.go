// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package trustbundle_test

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
)

// What verifies nobody stays in the bundle, and is warned of.
func TestWarnings(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	good, _ := newCA(t)
	leaf, _ := newCertificate(t, func(c *x509.Certificate) { c.IsCA = false })
	expired, _ := newCertificate(t, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) })
	early, _ := newCertificate(t, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) })
	for _, row := range []struct {
		name, data string
		want       []string
	}{
		{"a CA", good, nil},
		{"a leaf", good + leaf, []string{"certificate 2", "no other", "leaf"}},
		{"expired", expired + good, []string{"certificate 1", "expired at 2023-11-14T"}},
		{"early", early, []string{"not valid before"}},
	} {
		bundle, err := trustbundle.Parse([]byte(row.data))
		check(t, err)
		if string(bundle.PEM()) != row.data {
			t.Errorf("%s: it is not kept as it is", row.name)
		}
		got := strings.Join(bundle.Warnings(now), "\n")
		if (got == "") != (row.want == nil) || slices.ContainsFunc(row.want, func(s string) bool { return !strings.Contains(got, s) }) {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}

func TestEarliestExpiry(t *testing.T) {
	t.Parallel()
	first := time.Unix(1_600_000_000, 0)
	late, _ := newCA(t)
	early, _ := newCertificate(t, func(c *x509.Certificate) { c.NotAfter = first })
	bundle, err := trustbundle.Parse([]byte(late + early + late))
	check(t, err)
	if got := bundle.EarliestExpiry(); !got.Equal(first) {
		t.Errorf("got %s, want %s", got, first)
	}
}

// There may be no bundle, of which there is nothing to tell.
func TestNoBundle(t *testing.T) {
	t.Parallel()
	var none *trustbundle.Bundle
	if none.PEM() != nil || none.Certificates() != nil || none.Hash() != "" || !none.EarliestExpiry().IsZero() || none.Warnings(time.Now()) != nil {
		t.Error("there is something of no bundle")
	}
}
