// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package configtest makes configurations for tests.
package configtest

import (
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// Parse returns a good configuration of the trust domain my.trust.domain and the issuer ca,
// with some lines of YAML added. It ends the test if it is not good with those.
func Parse(t testing.TB, lines ...string) *config.Config {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte(strings.Join(append([]string{
		"apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1",
		"kind: SPIFFEConfiguration",
		"trustDomain: my.trust.domain",
		"issuerRef: {name: ca}",
	}, lines...), "\n")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
