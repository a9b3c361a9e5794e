// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Where things are in an image, apart from the program.
const (
	rootsPath = "/etc/ssl/certs/ca-certificates.crt" // where Go and OpenSSL look for it
	sbomPath  = "/sbom.cdx.json"
)

// Annotations of the OCI image specification, which are labels too.
const (
	annotationTitle   = "org.opencontainers.image.title"
	annotationVersion = "org.opencontainers.image.version"
	annotationRefName = "org.opencontainers.image.ref.name"
	// By this one containerd names what it imports.
	annotationContainerdName = "io.containerd.image.name"
)

// An image is that of one platform.
type image struct {
	v1.Image
	platform v1.Platform
	sbom     []byte
	// size is that of the files, uncompressed.
	size int64
}

// build makes an image for each platform and the index of all.
func (s spec) build() (v1.ImageIndex, []image, error) {
	roots, err := rootCertificates()
	if err != nil {
		return nil, nil, err
	}
	base, err := newLayer([]entry{{path: rootsPath, mode: 0o444, data: roots}})
	if err != nil {
		return nil, nil, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var images []image
	for _, p := range s.programs {
		img, err := s.buildOne(p, base)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", p.file, err)
		}
		images = append(images, img)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &img.platform}})
	}
	return mutate.Annotations(index, s.annotations()).(v1.ImageIndex), images, nil
}

// buildOne makes the image for one platform on the layer that all have.
func (s spec) buildOne(p program, base layer) (image, error) {
	info, err := buildinfo.ReadFile(p.file)
	if err != nil {
		return image{}, err
	}
	binary, err := os.ReadFile(p.file)
	if err != nil {
		return image{}, err
	}
	bill, err := billOfMaterials(s.name, s.version, info)
	if err != nil {
		return image{}, err
	}
	entries := []entry{
		{path: s.entrypoint, mode: 0o555, data: binary},
		{path: sbomPath, mode: 0o444, data: bill},
	}
	for _, alias := range s.aliases {
		entries = append(entries, entry{path: alias, mode: 0o777, target: s.entrypoint})
	}
	top, err := newLayer(entries)
	if err != nil {
		return image{}, err
	}
	goos, arch, _ := strings.Cut(p.platform, "/")
	img := image{platform: v1.Platform{OS: goos, Architecture: arch}, sbom: bill, size: base.size + top.size}
	if err := img.checkBuiltFor(info); err != nil {
		return image{}, err
	}
	img.Image, err = s.assemble(img.platform, base, top)
	return img, err
}

// checkBuiltFor refuses a program of another platform, and one that could not
// run in an image that has nothing else in it.
func (i image) checkBuiltFor(info *buildinfo.BuildInfo) error {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if built := settings["GOOS"] + "/" + settings["GOARCH"]; built != i.platform.String() {
		return fmt.Errorf("was built for %s, not for %s", built, i.platform)
	}
	if settings["CGO_ENABLED"] == "1" {
		return errors.New("needs a C library, which the image does not have: build it with CGO_ENABLED=0")
	}
	return nil
}

// assemble makes an image of layers.
func (s spec) assemble(platform v1.Platform, layers ...layer) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	// The time that the reproducible-builds project has agreed on for none.
	created := v1.Time{Time: time.Unix(0, 0).UTC()}
	var err error
	for _, l := range layers {
		img, err = mutate.Append(img, mutate.Addendum{
			Layer: l, MediaType: types.OCILayer,
			History: v1.History{Created: created, CreatedBy: "internal/dev/tools/image", Comment: l.comment},
		})
		if err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = platform.OS, platform.Architecture, created
	config.Config.User = s.user
	config.Config.Entrypoint = []string{s.entrypoint}
	config.Config.Env = []string{"PATH=/"}
	config.Config.Labels = s.annotations()
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, err
	}
	return mutate.Annotations(img, s.annotations()).(v1.Image), nil
}

// annotations are what labels and annotations say alike.
func (s spec) annotations() map[string]string {
	all := maps.Clone(s.labels)
	if _, ok := all[annotationTitle]; !ok {
		all[annotationTitle] = s.name[strings.LastIndex(s.name, "/")+1:]
	}
	all[annotationVersion] = s.version
	return all
}
