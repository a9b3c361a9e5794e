// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func TestNamesAreKept(t *testing.T) {
	t.Parallel()
	three := volume.Files{Certificate: "tls.crt", PrivateKey: "tls.key", TrustBundle: "ca.crt"}
	with := func(change func(*volume.Files)) volume.Files { f := three; change(&f); return f }
	for _, row := range []struct {
		name              string
		has, wanted, want volume.Files
	}{
		{"a new volume", volume.Files{}, three, three},
		{"renamed", three, volume.Files{Certificate: "a", PrivateKey: "b", TrustBundle: "c"}, three},
		{
			"switched on", three, with(func(f *volume.Files) { f.SPIFFEBundle, f.JKS.Keystore = "a", "b" }),
			with(func(f *volume.Files) { f.SPIFFEBundle, f.JKS.Keystore = "a", "b" }),
		},
		{"switched off", with(func(f *volume.Files) { f.SPIFFEBundle, f.PKCS12.Truststore = "a", "b" }), three, three},
		{
			"a form renamed", with(func(f *volume.Files) { f.CredentialBundle = "a" }), with(func(f *volume.Files) { f.CredentialBundle = "b" }),
			with(func(f *volume.Files) { f.CredentialBundle = "a" }),
		},
		{
			"the name of another file", three,
			volume.Files{Certificate: "a", PrivateKey: "tls.key", TrustBundle: "ca.crt", CredentialBundle: "tls.crt"},
			three,
		},
		{
			"a name that another form gives up", with(func(f *volume.Files) { f.CredentialBundle = "a" }),
			with(func(f *volume.Files) { f.SPIFFEBundle = "a" }), with(func(f *volume.Files) { f.SPIFFEBundle = "a" }),
		},
	} {
		if got := row.has.Keep(row.wanted); got != row.want {
			t.Errorf("%s: got %+v, want %+v", row.name, got, row.want)
		}
	}
}
