// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package repotest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// topLevel is everything, apart from dotfiles, that stands at the top of the
// repository.
func topLevel() []string {
	return []string{
		"CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "cmd", "config", "go.mod", "go.sum", "internal", "manifests",
		"testdata",
	}
}

func TestTopLevelHoldsNothingElse(t *testing.T) {
	t.Parallel()
	for _, name := range topLevelNames(t) {
		if name[0] != '.' && !slices.Contains(topLevel(), name) {
			t.Errorf("%s: not expected at the top of the repository: move it, or add it to topLevel", name)
		}
	}
}

// topLevelNames asks git what is tracked, for anybody may keep notes in a clone.
// Without git (a source archive) it reads the folder, where there may be builds.
func topLevelNames(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return folderNames(t)
	}
	var names []string
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if top, _, _ := strings.Cut(name, "/"); top != "" {
			names = append(names, top)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func folderNames(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "bin" {
			names = append(names, e.Name())
		}
	}
	return names
}

// The development cluster says it is the Kubernetes version that is stamped into
// it; that has to be the one it is built from.
func TestDevclusterIsStampedWithItsKubernetesVersion(t *testing.T) {
	t.Parallel()
	flags, err := os.ReadFile(filepath.Join(root, "internal", "dev", "devcluster", "ldflags"))
	if err != nil {
		t.Fatal(err)
	}
	version := required(t, "internal/dev/devcluster/go.mod", "k8s.io/kubernetes")
	want := "k8s.io/component-base/version.gitVersion=" + version
	if !slices.Contains(strings.Fields(string(flags)), want) {
		t.Errorf("internal/dev/devcluster/ldflags: should hold -X %s, as go.mod says", want)
	}
}

// required gives the version of a module that a go.mod requires.
func required(t *testing.T, goMod, path string) string {
	t.Helper()
	f, err := os.Open(filepath.Join(root, goMod))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) >= 2 && fields[0] == path {
			return fields[1]
		}
	}
	t.Fatalf("%s does not require %s", goMod, path)
	return ""
}
