// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// buildProgram builds a small program in a folder of its own, as images.sh
// builds the daemons.
func buildProgram(t *testing.T, goarch string, env ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module example.com/app\n\ngo 1.26.0\n",
		"main.go": "package main\n\nfunc main() { println(\"hello\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", "app", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append([]string{"GOOS=linux", "GOARCH=" + goarch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off"}, env...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, "app")
}

// makeImage makes an image of programs built just now, and returns its archive
// and what was reported.
func makeImage(t *testing.T) (archive, report string) {
	t.Helper()
	dir := t.TempDir()
	archive = filepath.Join(dir, "app.tar")
	var out strings.Builder
	err := run([]string{
		"-name", "example.com/team/app", "-version", "v1.2.3", "-output", archive, "-sbom", filepath.Join(dir, "app"),
		"-label", "org.opencontainers.image.licenses=Apache-2.0", "-alias", "/bin/hello",
		"linux/amd64=" + buildProgram(t, "amd64"), "linux/arm64=" + buildProgram(t, "arm64"),
	}, &out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return archive, out.String()
}

func TestTheSameProgramsGiveTheSameArchive(t *testing.T) {
	t.Parallel()
	first, _ := makeImage(t)
	second, _ := makeImage(t)
	a, errA := os.ReadFile(first)
	b, errB := os.ReadFile(second)
	if errA != nil || errB != nil || len(a) == 0 || !bytes.Equal(a, b) {
		t.Errorf("%d and %d bytes that differ, %v, %v", len(a), len(b), errA, errB)
	}
}

// unpack unpacks an archive, and checks that what the entries say of themselves
// is the same on every machine.
func unpack(t *testing.T, archive string) layout.Path {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return layout.Path(dir)
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.ModTime.Unix() != 0 || header.Uid != 0 || header.Uname != "" {
			t.Errorf("%s has a time or an owner: %+v", header.Name, header)
		}
		to := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(to, 0o700)
		} else {
			var data []byte
			if data, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(to, data, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// images reads the images of an archive.
func images(t *testing.T, archive string) []v1.Image {
	t.Helper()
	top, err := unpack(t, archive).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(manifest.Manifests); n != 1 {
		t.Fatalf("%d images in the archive, want 1", n)
	}
	if name := manifest.Manifests[0].Annotations[annotationContainerdName]; name != "example.com/team/app:v1.2.3" {
		t.Errorf("containerd would name it %q", name)
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err = index.IndexManifest(); err != nil {
		t.Fatal(err)
	}
	var all []v1.Image
	for _, m := range manifest.Manifests {
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, img)
	}
	return all
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	archive, report := makeImage(t)
	var platforms []string
	for _, img := range images(t, archive) {
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		platforms = append(platforms, config.OS+"/"+config.Architecture)
		if !slices.Equal(config.Config.Entrypoint, []string{"/app"}) || config.Config.User != "65532:65532" || config.Created.Unix() != 0 {
			t.Errorf("entrypoint %q, user %q, created %v", config.Config.Entrypoint, config.Config.User, config.Created)
		}
		manifest, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]string{
			"org.opencontainers.image.licenses": "Apache-2.0",
			annotationTitle:                     "app",
			annotationVersion:                   "v1.2.3",
		} {
			if label, annotation := config.Config.Labels[key], manifest.Annotations[key]; label != want || annotation != want {
				t.Errorf("%s: label %q, annotation %q, want %q", key, label, annotation, want)
			}
		}
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("platforms are %v", platforms)
	}
	if !strings.Contains(report, "MiB to pull") || !strings.Contains(report, "example.com/team/app:v1.2.3\n  sha256:") {
		t.Errorf("report is %q", report)
	}
}

// files reads all files of an image, by their names; folders have nothing.
func files(t *testing.T, img v1.Image) (map[string]*tar.Header, map[string][]byte) {
	t.Helper()
	headers, contents := map[string]*tar.Header{}, map[string][]byte{}
	flat := mutate.Extract(img)
	defer flat.Close()
	for r := tar.NewReader(flat); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		headers[header.Name] = header
		if contents[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestContents(t *testing.T) {
	t.Parallel()
	archive, _ := makeImage(t)
	for _, img := range images(t, archive) {
		headers, contents := files(t, img)
		var names []string
		for name, header := range headers {
			if header.Typeflag != tar.TypeDir {
				names = append(names, name)
			}
			if header.Typeflag == tar.TypeSymlink {
				if header.Linkname != "/app" {
					t.Errorf("%s is a link to %s", name, header.Linkname)
				}
				continue
			}
			if header.Mode&0o022 != 0 || header.Uid != 0 || header.ModTime.Unix() != 0 {
				t.Errorf("%s: mode %o, owner %d, time %v", name, header.Mode, header.Uid, header.ModTime)
			}
		}
		slices.Sort(names)
		if want := []string{"app", "bin/hello", "etc/ssl/certs/ca-certificates.crt", "sbom.cdx.json"}; !slices.Equal(names, want) {
			t.Errorf("files are %v, want %v", names, want)
		}
		if mode := headers["app"].Mode; mode != 0o555 || !bytes.HasPrefix(contents["app"], []byte("\x7fELF")) {
			t.Errorf("the program has mode %o and begins with %q", mode, contents["app"][:4])
		}
		if !x509.NewCertPool().AppendCertsFromPEM(contents["etc/ssl/certs/ca-certificates.crt"]) {
			t.Error("no CA certificates")
		}
		var bom cdx.BOM
		if err := json.Unmarshal(contents["sbom.cdx.json"], &bom); err != nil || bom.Metadata.Component.Version != "v1.2.3" {
			t.Errorf("bill of materials: %v, %+v", err, bom.Metadata)
		}
	}
	for _, platform := range []string{"linux-amd64", "linux-arm64"} {
		if _, err := os.Stat(strings.TrimSuffix(archive, ".tar") + "." + platform + ".cdx.json"); err != nil {
			t.Error(err)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	program := buildProgram(t, "amd64")
	good := []string{"-name", "example.com/app", "-version", "v1", "-output", filepath.Join(t.TempDir(), "app.tar")}
	for _, row := range []struct {
		name string
		args []string
		want string
	}{
		{"no program", nil, "no program given"},
		{"no platform", []string{program}, "must be OS/ARCHITECTURE=FILE"},
		{"another architecture", []string{"linux/arm64=" + program}, "was built for linux/amd64, not for linux/arm64"},
		{"user by name", []string{"-user", "nobody", "linux/amd64=" + program}, "must be numeric"},
		{"relative alias", []string{"-alias", "cat", "linux/amd64=" + program}, "must be an absolute path"},
		{"relative entrypoint", []string{"-entrypoint", "app", "linux/amd64=" + program}, "must be an absolute path"},
		{"no such file", []string{"linux/amd64=" + program + "x"}, "no such file"},
		{"not a Go program", []string{"linux/amd64=image_test.go"}, "image_test.go"},
		{"label without value", []string{"-label", "x", "linux/amd64=" + program}, "must be KEY=VALUE"},
	} {
		err := run(append(slices.Clone(good), row.args...), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error is %v, want one with %q", row.name, err, row.want)
		}
	}
	if _, err := os.Stat(good[len(good)-1]); err == nil {
		t.Error("a refused image has left an archive")
	}
}
