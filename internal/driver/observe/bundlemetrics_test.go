// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe/observetest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
)

// newBundle returns a bundle of one root that is valid until a moment.
func newBundle(t *testing.T, until time.Time) *trustbundle.Bundle {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	bundle, err := trustbundle.Parse(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	check(t, err)
	return bundle
}

func TestMetricsOfTheTrustBundle(t *testing.T) {
	t.Parallel()
	until := time.Unix(1_900_000_000, 0)
	bundle, refused := newBundle(t, until), errors.New("refused")
	of := func(successful float64) map[string]float64 {
		all := map[string]float64{
			"trust_bundle_certificates{}": 1, "trust_bundle_earliest_expiry_timestamp_seconds{}": float64(until.Unix()),
			"trust_bundle_info{hash=" + bundle.Hash() + "}": 1, "trust_bundle_last_reload_successful{}": successful,
		}
		maps.DeleteFunc(all, func(_ string, v float64) bool { return v == 0 })
		return all
	}
	for _, row := range []struct {
		name   string
		asked  bool
		bundle *trustbundle.Bundle
		err    error
		want   map[string]float64
	}{
		{"none is configured", false, bundle, nil, map[string]float64{}},
		{"none was good", true, nil, refused, map[string]float64{}}, // what there is to tell is 0
		{"good", true, bundle, nil, of(1)},
		{"bad, and the last good one stays", true, bundle, refused, of(0)},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := observetest.Samples(t, observe.NewBundleMetrics(func() bool { return row.asked }, func() (*trustbundle.Bundle, error) { return row.bundle, row.err }))
			if !maps.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}
