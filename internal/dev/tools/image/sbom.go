// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"runtime/debug"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// billOfMaterials is the CycloneDX document of a Go program: the modules that
// the Go linker wrote down in it, and the standard library. It has no serial
// number and no time, which would make two of the same program differ.
func billOfMaterials(name, version string, info *buildinfo.BuildInfo) ([]byte, error) {
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &cdx.Component{
		BOMRef: "program", Type: cdx.ComponentTypeApplication, Name: name, Version: version,
		PackageURL: packageURL(&info.Main, version),
	}}
	goVersion := strings.TrimPrefix(strings.Fields(info.GoVersion)[0], "go")
	components := []cdx.Component{library(&debug.Module{Path: "stdlib", Version: goVersion})}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		components = append(components, library(module))
	}
	var refs []string
	for _, c := range components {
		refs = append(refs, c.BOMRef)
	}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: "program", Dependencies: &refs}}

	var out bytes.Buffer
	err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6)
	return out.Bytes(), err
}

func library(m *debug.Module) cdx.Component {
	url := packageURL(m, m.Version)
	return cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: url}
}

// packageURL names a Go module as https://github.com/package-url/purl-spec has
// it: in lower case.
func packageURL(m *debug.Module, version string) string {
	return "pkg:golang/" + strings.ToLower(m.Path) + "@" + strings.ReplaceAll(version, "+", "%2B")
}

// writeSBOMs writes the bills of materials beside the archive, if asked to.
func (s spec) writeSBOMs(images []image) error {
	if s.sbom == "" {
		return nil
	}
	for _, img := range images {
		file := s.sbom + "." + img.platform.OS + "-" + img.platform.Architecture + ".cdx.json"
		if err := os.WriteFile(file, img.sbom, 0o644); err != nil { //nolint:gosec // Others may read it.
			return err
		}
	}
	return nil
}
