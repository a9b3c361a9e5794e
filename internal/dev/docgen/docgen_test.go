// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const types = "../../../config/v1alpha1"

const (
	begin = "<!-- BEGIN CONFIG REFERENCE -->"
	end   = "<!-- END CONFIG REFERENCE -->"
)

func TestRun(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	o := options{readme: filepath.Join(folder, "README.md"), schema: filepath.Join(folder, "schema.json"), types: types, chart: folder}
	check := o
	check.check = true
	write(t, o.readme, "# Title\n\n"+begin+"\nold\n"+end+"\n\nMore.\n<!-- BEGIN VALUES -->\n<!-- END VALUES -->\n")
	write(t, filepath.Join(folder, "values.yaml"), "# -- The port.\nport: 80\n")
	if err := os.Mkdir(filepath.Join(folder, "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "files", "removed.yaml"), "old: use port\n")

	if err := run(check); !errors.Is(err, errOutdated) || !strings.Contains(err.Error(), "schema.json: out of date") {
		t.Errorf("check of what is old or missing: got %v, want errOutdated for both", err)
	}
	if got := read(t, o.readme); !strings.Contains(got, "\nold\n") {
		t.Error("check changed the file")
	}
	if err := run(o); err != nil {
		t.Fatal(err)
	}
	if err := run(check); err != nil {
		t.Errorf("check of what was written: %v", err)
	}

	got := read(t, o.readme)
	if !strings.HasPrefix(got, "# Title\n\n"+begin+"\n\nDurations ") || !strings.Contains(got, " |\n\n"+end+"\n\nMore.\n") || !strings.Contains(got, "| `port` | integer | `80` | The port. |") {
		t.Errorf("got:\n%s", got)
	}
}

func TestReference(t *testing.T) {
	t.Parallel()
	docs, err := readComments(types)
	if err != nil {
		t.Fatal(err)
	}
	got, err := reference(docs)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		"| `apiVersion` | string | **required** | hot | The version of this format",
		"| `trustDomain` | string | **required** | re-issue | The SPIFFE trust domain",
		"| `issuerRef` | section |  |  | Names the cert-manager issuer",
		"| `issuerRef.kind` | string | `ClusterIssuer` | re-issue; list the previous issuer in approver.formerIssuers until its root has left every trust bundle | Kind of the issuer object",
		"| `certificate.duration` | duration | `1h` | hot; from each volume's next renewal, or at once if",
		"| `certificate.privateKey.size` | integer | `521` | re-issue | Size in bits.",
		"| `certificate.renewBefore` | duration | unset | hot | How long before",
		"| `certificate.renewBeforePercentage` | integer | `33` |",
		"| `certificate.requestAnnotations` | map of strings | `{}` |",
		"| `volume.defaultFSGroup` | integer | unset | hot; for volumes published from then on | The group that may read",
		"| `trustBundle.path` | string | `\"\"` | hot; live volumes get the bundle, or lose it | Path of a file",
		"| `driver.httpAddress` | string | `\":9402\"` | restart of the driver | Where the driver serves",
		"| `driver.kubeAPIQPS` | number | `0` | restart of the driver | Limits the requests",
		"| `approver.leaderElection.enabled` | boolean | `true` | restart of the approver | Turns leader election on.",
	} {
		if !strings.Contains(got, "\n"+row) {
			t.Errorf("no row %s in:\n%s", row, got)
		}
	}
	for line := range strings.Lines(got) {
		if strings.HasPrefix(line, "|") && strings.Count(line, "|") != 6 {
			t.Errorf("not five columns: %s", line)
		}
	}
}

func TestReplaceRefusesOtherMarkers(t *testing.T) {
	t.Parallel()
	for name, document := range map[string]string{
		"none":       "text",
		"no begin":   end,
		"no end":     begin,
		"reversed":   end + begin,
		"two begins": begin + begin + end,
		"two ends":   begin + end + end,
	} {
		if _, err := replace([]byte(document), configReference, "new"); !errors.Is(err, errMarkers) {
			t.Errorf("%s: got %v, want errMarkers", name, err)
		}
	}
}

func TestNoSource(t *testing.T) {
	t.Parallel()
	if err := run(options{types: t.TempDir()}); err == nil {
		t.Error("a folder without source was taken")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
