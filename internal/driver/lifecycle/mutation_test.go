// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutation is a patch of the package that puts a fault back which was mended once. Its head
// tells what the fault was, which promise it breaks, and in which scenario.
type mutation struct{ breaks, scenario, file, patched string }

// TestMutations proves that the search finds faults: with each patch in testdata/mutations it
// has to find a broken promise, the one that the patch names. With -v it prints the traces.
func TestMutations(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds the package for each mutation")
	}
	compiler, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no Go compiler")
	}
	files, err := filepath.Glob("testdata/mutations/*.patch")
	if err != nil || len(files) == 0 {
		t.Fatalf("no mutations: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".patch"), func(t *testing.T) {
			t.Parallel()
			m, err := readMutation(file)
			if err != nil {
				t.Fatal(err)
			}
			out, err := searchWith(t, compiler, m)
			switch {
			case err == nil:
				t.Errorf("the search finds nothing:\n%s", out)
			case !strings.Contains(out, ": "+m.breaks+": "):
				t.Errorf("the search does not find that this breaks the promise %q: %v\n%s", m.breaks, err, out)
			default:
				t.Log(out)
			}
		})
	}
}

// searchWith runs the search with a file of the package replaced.
func searchWith(t *testing.T, compiler string, m mutation) (out string, err error) {
	t.Helper()
	dir := t.TempDir()
	patched, overlay := filepath.Join(dir, m.file), filepath.Join(dir, "overlay.json")
	original, err := filepath.Abs(m.file)
	if err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: patched}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{patched: m.patched, overlay: string(replace)} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), compiler, "test", "-count=1", "-overlay", overlay,
		"-run", "TestSearch", ".", "-search.only="+m.scenario)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	data, err := command.CombinedOutput()
	return string(data), err
}

// readMutation applies a patch. What it takes away and puts has to be found by its text: there
// are no line numbers.
func readMutation(name string) (m mutation, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return m, err
	}
	var from, to strings.Builder
	apply := func() error {
		if from.Len() == 0 {
			return nil
		}
		if n := strings.Count(m.patched, from.String()); n != 1 {
			return fmt.Errorf("%s: %d places in %s have\n%s", name, n, m.file, from.String())
		}
		m.patched = strings.Replace(m.patched, from.String(), to.String(), 1)
		from.Reset()
		to.Reset()
		return nil
	}
	for line := range strings.Lines(string(data)) {
		switch {
		case m.file == "" && strings.HasPrefix(line, "--- "):
			m.file = strings.TrimSpace(line[len("--- "):])
			original, err := os.ReadFile(m.file)
			if err != nil {
				return m, err
			}
			m.patched = string(original)
		case m.file == "":
			if breaks, ok := strings.CutPrefix(line, "breaks: "); ok {
				m.breaks = strings.TrimSpace(breaks)
			}
			if scenario, ok := strings.CutPrefix(line, "scenario: "); ok {
				m.scenario = strings.TrimSpace(scenario)
			}
		case strings.HasPrefix(line, "@@"):
			if err := apply(); err != nil {
				return m, err
			}
		default:
			if line[0] != '+' {
				from.WriteString(line[1:])
			}
			if line[0] != '-' {
				to.WriteString(line[1:])
			}
		}
	}
	return m, apply()
}
