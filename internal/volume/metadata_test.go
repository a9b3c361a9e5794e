// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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

func TestPendingRequestIsKeptBesideTheFiles(t *testing.T) {
	t.Parallel()
	store := open(t)
	if _, err := store.ReadPending(id); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	check(t, store.RemovePending(id))
	for _, content := range []string{"first", "second"} {
		check(t, store.WritePending(id, []byte(content)))
		if got, err := store.ReadPending(id); err != nil || string(got) != content {
			t.Errorf("reads %q, %v, want %q", got, err, content)
		}
	}
	info, err := os.Stat(filepath.Join(store.Root(), id, "pending.json"))
	check(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("mode %s, want that only root may read the key", info.Mode())
	}
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	check(t, store.RemovePending(id))
	mustHold(t, store, generation(1))
}

func TestNothingIsLeftOfAVolumeThatHadOnlyARequest(t *testing.T) {
	t.Parallel()
	store := open(t)
	check(t, store.WritePending(id, []byte("key")))
	check(t, store.RemovePending(id))
	if left := names(t, store.Root()); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
	check(t, store.Write(id, generation(1), volume.Metadata{}))
	check(t, store.WritePending(id, []byte("key")))
	check(t, store.RemoveData(id))
	if left := names(t, filepath.Join(store.Root(), id)); !slices.Equal(left, []string{"pending.json"}) {
		t.Errorf("left are %q, want the request that is under way", left)
	}
	check(t, store.RemovePending(id))
	check(t, store.RemoveData(id))
	if left := names(t, store.Root()); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
}

// Whatever is in the place of a file or directory, a write puts the right thing
// there.
func TestWriteHealsWhatIsInItsPlace(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		damage func(t *testing.T, dir string)
	}{
		{"a file for the volume", func(t *testing.T, dir string) {
			check(t, os.RemoveAll(dir))
			check(t, os.WriteFile(dir, nil, 0o600))
		}},
		{"a file for the directory of the files", func(t *testing.T, dir string) {
			check(t, os.RemoveAll(filepath.Join(dir, "data")))
			check(t, os.WriteFile(filepath.Join(dir, "data"), nil, 0o600))
		}},
		{"directories for the metadata and the request", func(t *testing.T, dir string) {
			for _, name := range []string{"metadata.json", "metadata.json.new", "pending.json", "pending.json.new"} {
				check(t, os.RemoveAll(filepath.Join(dir, name)))
				check(t, os.MkdirAll(filepath.Join(dir, name, "x"), 0o700))
			}
		}},
		{"a directory for the link", func(t *testing.T, dir string) {
			check(t, os.Remove(filepath.Join(dir, "data", "..data")))
			check(t, os.MkdirAll(filepath.Join(dir, "data", "..data", "x"), 0o700))
		}},
		{"a link that leads nowhere", func(t *testing.T, dir string) {
			check(t, os.Remove(filepath.Join(dir, "data", "..data")))
			check(t, os.Symlink("..gone", filepath.Join(dir, "data", "..data")))
		}},
		{"a file, and a directory, for the names", func(t *testing.T, dir string) {
			check(t, os.Remove(filepath.Join(dir, "data", "tls.key")))
			check(t, os.WriteFile(filepath.Join(dir, "data", "tls.key"), strayKey, 0o600))
			check(t, os.Remove(filepath.Join(dir, "data", "tls.crt")))
			check(t, os.MkdirAll(filepath.Join(dir, "data", "tls.crt", "x"), 0o700))
		}},
		{"a stray file and directory", func(t *testing.T, dir string) {
			check(t, os.WriteFile(filepath.Join(dir, "data", "stray"), nil, 0o600))
			check(t, os.MkdirAll(filepath.Join(dir, "data", "..stray", "x"), 0o700))
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			store := open(t)
			check(t, store.Write(id, generation(1), volume.Metadata{}))
			row.damage(t, filepath.Join(store.Root(), id))
			check(t, store.WritePending(id, []byte("key")))
			check(t, store.Write(id, generation(2), volume.Metadata{PodName: "after"}))
			mustHold(t, store, generation(2))
			if meta, err := store.ReadMetadata(id); err != nil || meta.PodName != "after" {
				t.Errorf("metadata %+v, %v", meta, err)
			}
		})
	}
}

func TestStepsAreTold(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	var steps []string
	store, err := volume.Open(filepath.Join(t.TempDir(), "store"), volume.WithSteps(func(name string) { steps = append(steps, name) }))
	check(t, err)
	t.Cleanup(func() { check(t, volume.Unmount(store.Root())) })
	check(t, store.WritePending(id, nil))
	check(t, store.Write(id, map[string][]byte{"tls.key": nil}, volume.Metadata{}))
	check(t, store.Mount(id, target(t, "mount")))
	want := []string{
		"tmpfs mounted", "pending request written", "volume directory made", "generation made", "file written",
		"next link made", "files swapped", "file name made", "metadata written",
		"target path made", "volume mounted",
	}
	if !slices.Equal(steps, want) {
		t.Errorf("got %q, want %q", steps, want)
	}
}
