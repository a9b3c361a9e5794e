// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"debug/buildinfo"
	"os"
	"runtime"
	"strings"
	"testing"
)

// readOwnBuildInfo reads what the linker has written into this test.
func readOwnBuildInfo(t *testing.T) *buildinfo.BuildInfo {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestBillOfMaterialsNamesModulesAndStandardLibrary(t *testing.T) {
	t.Parallel()
	info := readOwnBuildInfo(t)
	data, err := billOfMaterials("example.com/app", "v1", info)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"pkg:golang/github.com/cyclonedx/cyclonedx-go@v", "pkg:golang/github.com/google/go-containerregistry@v",
		"pkg:golang/stdlib@" + strings.TrimPrefix(strings.Fields(runtime.Version())[0], "go"),
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
}
