// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package crds_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/crds"
)

func TestAll(t *testing.T) {
	t.Parallel()
	all, err := crds.All()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"Certificate": "cert-manager.io", "CertificateRequest": "cert-manager.io", "ClusterIssuer": "cert-manager.io",
		"Issuer": "cert-manager.io", "Gateway": "gateway.networking.k8s.io",
	}
	for _, crd := range all {
		if crd.Kind != "CustomResourceDefinition" || crd.Spec.Group != want[crd.Spec.Names.Kind] {
			t.Errorf("%s is a %s in group %s", crd.Name, crd.Kind, crd.Spec.Group)
		}
		if want[crd.Spec.Names.Kind] == "" {
			t.Errorf("%s is not wanted or twice there", crd.Spec.Names.Kind)
		}
		delete(want, crd.Spec.Names.Kind)
	}
	if len(want) != 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestDefinitionsAreThoseOfGoMod(t *testing.T) {
	t.Parallel()
	fresh := filepath.Join(t.TempDir(), "fresh.jsonl")
	if out, err := exec.Command("go", "run", "./update", "-o", fresh).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("definitions.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("definitions.jsonl is not what the modules in go.mod have: run go generate ./crds")
	}
}
