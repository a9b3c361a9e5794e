// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bytes"
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// Where things are, seen from this folder.
const (
	repository = "../../.."
	chart      = repository + "/manifests/helm/csi-driver-spiffe"
	settings   = "testdata/settings"
	programs   = repository + "/bin"
)

// kubeVersion is what charts are rendered for. A helm that is built by `go
// build` does not know of any since 1.20.
const kubeVersion = "1.36.0"

// tools make the objects of a setting, which is a folder.
var tools = map[string]func(t *testing.T, setting string) []byte{
	"kustomize": func(t *testing.T, setting string) []byte { return run(t, nil, "kustomize", "build", setting) },
	"jsonnet": func(t *testing.T, setting string) []byte {
		library, parameters := absolute(t, repository+"/manifests/jsonnet/csi-driver-spiffe.libsonnet"), absolute(t, setting+"/parameters.jsonnet")
		return run(t, nil, "jsonnet", "-e", "(import '"+library+"').new(import '"+parameters+"').list")
	},
	"helm": func(t *testing.T, setting string) []byte {
		return helmTemplate(t, "--namespace", namespaceOf(t, setting), "--values", setting+"/values.yaml")
	},
}

func helmTemplate(t *testing.T, args ...string) []byte {
	t.Helper()
	return run(t, nil, "helm", append([]string{"template", "any-release", chart, "--kube-version", kubeVersion}, args...)...)
}

// requireTool returns the path of a tool, or skips the test and says how to run
// it.
func requireTool(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(programs, "tools", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs %s: run `make test`, or `make bin/tools/%s`", name, name)
	}
	return path
}

// run returns what a tool writes to its standard output. It must succeed.
func run(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	output, stderr, err := try(t, stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, stderr)
	}
	return output
}

// try also returns what it writes to its standard error.
func try(t *testing.T, stdin []byte, name string, args ...string) (output []byte, stderr string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), requireTool(t, name), args...)
	var messages bytes.Buffer
	command.Stdin, command.Stderr = bytes.NewReader(stdin), &messages
	// Helm reads and writes in the home folder.
	home := t.TempDir()
	command.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home, "XDG_DATA_HOME="+home, "KUBECONFIG=")
	output, err = command.Output()
	return output, messages.String(), err
}

// render returns the objects of a setting as a tool makes them.
func render(t *testing.T, tool, setting string) map[string]*unstructured.Unstructured {
	t.Helper()
	return objects(t, tools[tool](t, filepath.Join(settings, setting)))
}

// objects reads what a tool has written: documents of YAML, or a list in JSON.
// They are keyed by kind, namespace and name.
func objects(t *testing.T, output []byte) map[string]*unstructured.Unstructured {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rendered.yaml")
	check(t, os.WriteFile(path, output, 0o600))
	read, err := testkit.ReadManifests(path)
	check(t, err)
	found := map[string]*unstructured.Unstructured{}
	for _, object := range read {
		key := object.GetKind() + " " + cmp.Or(object.GetNamespace(), "-") + " " + object.GetName()
		if found[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		found[key] = object
	}
	return found
}

// settingNames are the folders of testdata/settings.
func settingNames(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(settings)
	check(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// namespaceOf is the namespace of a setting's kustomization.
func namespaceOf(t *testing.T, setting string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(setting, "kustomization.yaml"))
	check(t, err)
	var kustomization struct{ Namespace string }
	check(t, yaml.Unmarshal(data, &kustomization))
	return kustomization.Namespace
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	check(t, err)
	return path
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
