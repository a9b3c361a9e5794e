// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// readers try each YAML snippet of the documentation, by what it begins with or
// has in it.
var readers = []struct {
	name, sign string
	read       func(t *testing.T, snippet string)
}{
	{"a configuration file", "kind: SPIFFEConfiguration", readConfig},
	{"a kustomization", "kind: Kustomization", readKustomization},
	{"values of the chart", "app:\n", readValues},
	{"a part of a pod", "volumeMounts:", readPod},
	{"a part of a configuration file", "trustBundle:\n", readPartOfConfig},
	{"the files of a configuration file", "volume:\n  files:\n", readPartOfConfig},
	{"a ResourceQuota", "kind: ResourceQuota", readQuota},
	{"secrets of Envoy", "envoy.extensions", readYAML},
}

// Documentation that is wrong is worse than none: every YAML snippet is read by
// what it is for.
func TestEverySnippetOfTheDocumentationIsGood(t *testing.T) {
	t.Parallel()
	fence := regexp.MustCompile("(?s)\n```ya?ml\n(.*?\n)```\n")
	count := 0
	for _, document := range []string{"README.md", "CONTRIBUTING.md", "manifests/helm/csi-driver-spiffe/README.md"} {
		text, err := os.ReadFile(filepath.Join(repository, document))
		check(t, err)
		for _, match := range fence.FindAllStringSubmatch(string(text), -1) {
			count++
			t.Run(document, func(t *testing.T) { readSnippet(t, match[1]) })
		}
	}
	if count < 5 {
		t.Errorf("only %d snippets were found", count)
	}
}

func readSnippet(t *testing.T, snippet string) {
	for _, reader := range readers {
		if strings.Contains(snippet, reader.sign) {
			t.Logf("%s:\n%s", reader.name, snippet)
			reader.read(t, snippet)
			return
		}
	}
	t.Errorf("nobody knows what this is: give it a row in readers:\n%s", snippet)
}

func readConfig(t *testing.T, snippet string) {
	_, err := config.Parse("snippet", []byte(snippet))
	check(t, err)
}

func readPartOfConfig(t *testing.T, snippet string) {
	readConfig(t, "apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1\nkind: SPIFFEConfiguration\ntrustDomain: a\nissuerRef: {name: a}\n"+snippet)
}

func readQuota(t *testing.T, snippet string) {
	var quota corev1.ResourceQuota
	check(t, yaml.UnmarshalStrict([]byte(snippet), &quota))
	if len(quota.Spec.Hard) == 0 {
		t.Error("it limits nothing")
	}
}

// readYAML is for what only other programs know more of.
func readYAML(t *testing.T, snippet string) {
	var document map[string]any
	check(t, yaml.UnmarshalStrict([]byte(snippet), &document))
}

// readKustomization renders it where it would lie, beside the example's file.
func readKustomization(t *testing.T, snippet string) {
	examples := absolute(t, repository+"/manifests/examples")
	folder, err := os.MkdirTemp(examples, "snippet-")
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	file, err := os.ReadFile(examples + "/kustomize/config.yaml")
	check(t, err)
	check(t, os.WriteFile(folder+"/config.yaml", file, 0o600))
	check(t, os.WriteFile(folder+"/kustomization.yaml", []byte(snippet), 0o600))
	if got, want := run(t, nil, "kustomize", "build", folder), run(t, nil, "kustomize", "build", examples+"/kustomize"); !bytes.Equal(got, want) {
		t.Errorf("it is not the same as manifests/examples/kustomize:\n%s", got)
	}
}

func readValues(t *testing.T, snippet string) {
	path := filepath.Join(t.TempDir(), "values.yaml")
	check(t, os.WriteFile(path, []byte(snippet), 0o600))
	configOf(t, "--values", path)
}

// readPod puts the container's part, which is indented, into a pod.
func readPod(t *testing.T, snippet string) {
	mounts, volumes, found := strings.Cut(snippet, "\n  volumes:")
	if !found {
		t.Fatal("no volumes beside the volumeMounts")
	}
	var pod corev1.Pod
	check(t, yaml.UnmarshalStrict([]byte("spec:\n  containers:\n    - name: app\n"+mounts+"\n  volumes:"+volumes), &pod))
	if mount, volume := mounted(pod.Spec, "/var/run/secrets/spiffe.io"); volume == nil || volume.CSI == nil || *volume.CSI.ReadOnly != true {
		t.Errorf("got %+v, %+v", mount, volume)
	}
}
