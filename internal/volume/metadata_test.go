// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

func metadata() volume.Metadata {
	group := int64(0) // the only one that is sure to exist in a user namespace
	return volume.Metadata{
		TargetPath:    "/var/lib/kubelet/pods/x/volumes/kubernetes.io~csi/spiffe/mount",
		PodNamespace:  "sandbox",
		PodName:       "web-0",
		PodUID:        "c2f0f7a1-54d8-4d3b-b1a0-6a3e9d1c7b42",
		FSGroup:       &group,
		Files:         volume.Files{Certificate: "tls.crt", PrivateKey: "tls.key", TrustBundle: "ca.crt", JKS: volume.Stores{Keystore: "a"}},
		SPIFFEID:      "spiffe://my.trust.domain/ns/sandbox/sa/example-app",
		NotBefore:     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		NotAfter:      time.Date(2026, 1, 2, 4, 4, 5, 0, time.UTC),
		Obtained:      time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC),
		Duration:      time.Hour,
		IdentityHash:  "0123456789abcdef",
		EarlyRenewals: 2, Request: "web-0-x2b4",

		TrustBundle: "fedcba9876543210", StorePassword: "00112233445566ff",
	}
}

func TestMetadataRoundTrip(t *testing.T) {
	t.Parallel()
	store := open(t)
	for name, want := range map[string]volume.Metadata{"whole": metadata(), "empty": {}} {
		check(t, store.Write(name, generation(1), volume.Metadata{PodName: "before"}))
		check(t, store.Write(name, generation(2), want))
		got, err := store.ReadMetadata(name)
		check(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A field that metadata() does not set is one that the round trip does not test.
func TestMetadataOfTheTestIsWhole(t *testing.T) {
	t.Parallel()
	value := reflect.ValueOf(metadata())
	for i := range value.NumField() {
		if value.Field(i).IsZero() {
			t.Errorf("%s is not set", value.Type().Field(i).Name)
		}
	}
}

func TestReadMetadataOfADamagedFile(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.Write(id, generation(1), metadata()))
	path := filepath.Join(store.Root(), id, "metadata.json")
	whole, err := os.ReadFile(path)
	check(t, err)
	rows := map[string]string{
		"empty":                       "",
		"null":                        "null",
		"not JSON":                    "podName: web-0",
		"no version":                  `{"podName": "web-0"}`,
		"version before":              `{"version": 0}`,
		"version to come":             `{"version": 2}`,
		"version is a string":         `{"version": "1"}`,
		"a list":                      `[{"version": 1}]`,
		"time is not one":             `{"version": 1, "notAfter": "tomorrow"}`,
		"group is not one":            `{"version": 1, "fsGroup": "staff"}`,
		"zeros, as after a power cut": string(make([]byte, 512)),
	}
	for _, n := range []int{1, len(whole) / 2, len(whole) - 3} {
		rows["cut short to "+string(whole[:n])] = string(whole[:n])
	}
	for name, content := range rows {
		check(t, os.WriteFile(path, []byte(content), 0o600))
		if _, err := store.ReadMetadata(id); !errors.Is(err, volume.ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
	}
	check(t, os.Remove(path))
	if _, err := store.ReadMetadata(id); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("no file: %v, want ErrNotFound", err)
	}
	check(t, os.Mkdir(path, 0o700))
	if _, err := store.ReadMetadata(id); !errors.Is(err, volume.ErrDamaged) {
		t.Errorf("a directory: %v, want ErrDamaged", err)
	}
	check(t, os.Remove(path))
	check(t, store.Write(id, generation(2), metadata()))
	if _, err := store.ReadMetadata(id); err != nil {
		t.Errorf("after it was written again: %v", err)
	}
}
