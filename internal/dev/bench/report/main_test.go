// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

// example has a measurement of each shape; the product takes so many times what
// it might.
func example(times float64) *result.Run {
	scaled := func(values ...float64) []float64 {
		for i := range values {
			values[i] *= times
		}
		return values
	}
	return &result.Run{
		Machine: result.Machine{Version: "v1.2.3", CPU: "Some CPU", Cores: 2},
		Scenarios: []result.Scenario{
			{
				Name: "publish", About: "A <wait> & more.",
				Measurements: []result.Measurement{
					{Name: "one by one", Unit: result.Second, Shape: result.Distribution, Product: scaled(0.06, 0.061, 0.062, 0.063, 0.064, 0.065), Floor: []float64{0.04, 0.041, 0.042, 0.043, 0.044, 0.045}},
					{Name: "2 at once", Unit: result.Second, Shape: result.Distribution, Round: 2, Product: scaled(0.1, 0.2, 0.1, 0.3), Floor: []float64{0.1, 0.1, 0.1, 0.1}},
				},
				Stages: []result.StageBar{
					{Name: "driver", Stages: []result.Stage{{Name: "create", Seconds: 0.02}, {Name: "write", Seconds: 0.001}}},
					{Name: "floor", Stages: []result.Stage{{Name: "create", Seconds: 0.015}}},
				},
			},
			{
				Name: "idle",
				Measurements: []result.Measurement{
					{Group: "CPU", Name: "0 volumes", Unit: result.Second, Shape: result.Bar, Product: []float64{0, 0}, Floor: []float64{0, 0}},
					{Group: "CPU", Name: "1000 volumes", Unit: result.Second, Shape: result.Bar, Product: []float64{0.1, 0.2}},
					{Group: "size", Name: "program", Unit: result.Byte, Shape: result.Bar, Exact: true, Product: scaled(1000), Floor: []float64{900}},
					{Name: "renewals", Unit: result.Count, Shape: result.Series, Product: []float64{3, 4, 5}, Floor: []float64{4, 4, 4}},
				},
			},
			{Name: "broken", Error: "it broke"},
		},
	}
}

func saved(t *testing.T, run *result.Run) string {
	t.Helper()
	folder := t.TempDir()
	if err := run.Save(folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestEachScenarioHasAPicture(t *testing.T) {
	t.Parallel()
	folder := saved(t, example(1))
	if err := run([]string{folder}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"publish.svg": {"publish: A <wait> & more.", "one by one", "2 at once", "time (ms)", "share of samples (%)", "product", "floor"},
		"idle.svg":    {"CPU", "0 volumes", "1000 volumes", "size (B)", "program", "renewals", "no floor"},
		"stages.svg":  {"driver", "21 ms", "floor", "15 ms", "create", "write", "time (ms)"},
	} {
		texts := textsOf(t, filepath.Join(folder, name))
		for _, text := range want {
			if !strings.Contains(texts, "\n"+text+"\n") {
				t.Errorf("%s: no %q among:%s", name, text, texts)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "broken.svg")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a picture of what was not measured: %v", err)
	}
}

// textsOf returns each text of a picture on a line of its own; the picture has to
// be well-formed XML.
func textsOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	texts, inText := "\n", false
	for decoder := xml.NewDecoder(bytes.NewReader(data)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				texts += strings.TrimSpace(string(token)) + "\n"
			}
		}
	}
}

func TestAnEarlierRunIsComparedWith(t *testing.T) {
	t.Parallel()
	before, after := saved(t, example(1)), saved(t, example(2))
	var out bytes.Buffer
	if err := run([]string{"-baseline", before, after}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(after, "comparison.txt"))
	if err != nil || !strings.Contains(out.String(), string(kept)) || !strings.Contains(string(kept), "publish: one by one") {
		t.Errorf("comparison.txt: %v\n%s\nprinted:\n%s", err, kept, out.String())
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	good, empty := saved(t, example(1)), t.TempDir()
	for _, row := range []struct {
		name string
		args []string
		want error
	}{
		{"no folder", nil, errUsage},
		{"two folders", []string{good, good}, errUsage},
		{"a folder without results", []string{empty}, fs.ErrNotExist},
		{"no such baseline", []string{"-baseline", filepath.Join(empty, "none.json"), good}, fs.ErrNotExist},
	} {
		if err := run(row.args, io.Discard, io.Discard); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
}
