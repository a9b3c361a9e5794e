// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package result_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

func example() *result.Run {
	return &result.Run{
		Began: time.Date(2026, 11, 24, 23, 0, 0, 0, time.UTC), Took: 90,
		Machine: result.Machine{Version: "v1.2.3", Key: "ECDSA 521", CPU: "Some CPU", Cores: 2, Memory: 4 << 30, Kernel: "6.1", Go: "go1.26", Kubernetes: "v1.36"},
		Scenarios: []result.Scenario{
			{
				Name: "publish", About: "A wait.", Floor: "The least.", Took: 60,
				Measurements: []result.Measurement{
					{Name: "one by one", Unit: result.Second, Shape: result.Distribution, Product: []float64{0.06, 0.05}, Floor: []float64{0.04, 0.05}},
					{Group: "CPU", Name: "driver", Unit: result.Second, Shape: result.Bar, Product: []float64{0.009}, FloorIs: "none"},
				},
				Stages: []result.StageBar{
					{Name: "driver", Stages: []result.Stage{{Name: "create", Seconds: 0.02}, {Name: "write", Seconds: 0.001}}},
					{Name: "floor", Stages: []result.Stage{{Name: "create", Seconds: 0.015}}},
				},
				Notes: []string{"Noted."},
			},
			{Name: "idle", About: "Nothing.", Floor: "Nothing at all.", Error: "it broke"},
		},
	}
}

func TestARunIsReadAsItWasSaved(t *testing.T) {
	t.Parallel()
	saved, folder := example(), filepath.Join(t.TempDir(), "new")
	if err := saved.Save(folder); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"its folder": folder, "its file": filepath.Join(folder, result.FileName)} {
		read, err := result.Load(path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(saved, read); diff != "" {
			t.Errorf("%s: what was saved, and what was read:\n%s", name, diff)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, content string
		want          error
	}{
		{"what is not JSON", "publish 60 ms", result.ErrFormat},
		{"JSON of something else", `{"kind": "List"}`, result.ErrFormat},
		{"a later format", `{"format": 2}`, result.ErrFormat},
		{"a list", `[]`, result.ErrFormat},
	} {
		path := filepath.Join(t.TempDir(), "results.json")
		if err := os.WriteFile(path, []byte(row.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := result.Load(path); !errors.Is(err, row.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %v and the path", row.name, err, row.want)
		}
	}
	if _, err := result.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
}

func TestFailedScenariosAreNamed(t *testing.T) {
	t.Parallel()
	if got, want := example().Failed(), []string{"idle"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	const want = `csi-driver-spiffe v1.2.3 on 2 × Some CPU, 4 GiB memory, Linux 6.1, go1.26, Kubernetes v1.36, keys: ECDSA 521

publish: A wait.
floor: The least.

             samples     p50     p99     max   floor p50   floor p99   floor max   ratio p50   ratio p99   ratio max
one by one         2   50 ms   50 ms   60 ms       40 ms       40 ms       50 ms        1.22        1.25        1.20

              samples   median   from – to   floor   from – to   ratio
CPU, driver         1     9 ms                   –                   –

mean time by stage   create   write     all
driver                20 ms    1 ms   21 ms
floor                 15 ms       –   15 ms
note: Floor of CPU, driver: none.
note: Noted.

idle: Nothing.
floor: Nothing at all.
FAILED: it broke
`
	if diff := cmp.Diff(want, example().Text()); diff != "" {
		t.Errorf("want, got:\n%s", diff)
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	run := example()
	run.Quick = true
	got := run.Markdown()
	for _, want := range []string{
		"Measured on 2026-11-24 at v1.2.3, in 1m30s: 2 × Some CPU", "keys: ECDSA 521 (a quick run: small sizes, rough numbers).\n",
		"\n**publish**: A wait. Floor: The least.\n\n|  | samples |",
		"|---|---|---|---|---|---|---|---|---|---|\n| one by one | 2 | 50 ms |",
		"| driver | 20 ms | 1 ms | 21 ms |\n",
		"\nFloor of CPU, driver: none. Noted.\n",
		"\nThis scenario failed: it broke\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}
