// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package trustbundle_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
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

// newChain returns a root, and a leaf with the intermediate that has signed it.
func newChain(t *testing.T, change func(leaf *x509.Certificate)) (root string, chain []*x509.Certificate) {
	t.Helper()
	now := time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	parent, certificates := (*x509.Certificate)(nil), []*x509.Certificate{}
	for _, name := range []string{"root", "intermediate", "leaf"} {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			IsCA: name != "leaf", BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		if name == "leaf" {
			template.KeyUsage = x509.KeyUsageDigitalSignature
			change(template)
		}
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		check(t, err)
		parent, err = x509.ParseCertificate(der)
		check(t, err)
		certificates = append([]*x509.Certificate{parent}, certificates...)
	}
	return block("CERTIFICATE", certificates[2].Raw), certificates[:2]
}

func TestVerify(t *testing.T) {
	t.Parallel()
	now := time.Now()
	other, _ := newCA(t)
	for _, row := range []struct {
		name   string
		change func(leaf *x509.Certificate)
		cut    func(root string, chain []*x509.Certificate) (string, []*x509.Certificate)
		good   bool
	}{
		{"the root of the chain", nil, nil, true},
		{"a bundle of two", nil, func(root string, chain []*x509.Certificate) (string, []*x509.Certificate) { return other + root, chain }, true},
		{"the intermediate as the bundle", nil, func(_ string, chain []*x509.Certificate) (string, []*x509.Certificate) {
			return block("CERTIFICATE", chain[1].Raw), chain[:1]
		}, true},
		{"another root", nil, func(_ string, chain []*x509.Certificate) (string, []*x509.Certificate) { return other, chain }, false},
		{"an intermediate left out", nil, func(root string, chain []*x509.Certificate) (string, []*x509.Certificate) { return root, chain[:1] }, false},
		{"an expired leaf, which is told of elsewhere", func(leaf *x509.Certificate) { leaf.NotAfter = now.Add(-time.Minute) }, nil, true},
		{"a leaf of the future, which is told of elsewhere", func(leaf *x509.Certificate) { leaf.NotBefore = now.Add(time.Minute) }, nil, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			change := row.change
			if change == nil {
				change = func(*x509.Certificate) {}
			}
			root, chain := newChain(t, change)
			if row.cut != nil {
				root, chain = row.cut(root, chain)
			}
			bundle, err := trustbundle.Parse([]byte(root))
			check(t, err)
			var unknown x509.UnknownAuthorityError
			if err := bundle.Verify(chain, now); (err == nil) != row.good || err != nil && !errors.As(err, &unknown) {
				t.Errorf("got %v", err)
			}
		})
	}
}
