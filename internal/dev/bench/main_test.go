// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		args []string
		want func(*options)
	}{
		{"nothing", nil, func(*options) {}},
		{"quick", []string{"-quick"}, func(o *options) { o.quick, o.sizes = true, quick() }},
		{"quick, but for what is given", []string{"-publishes", "7", "-quick"}, func(o *options) {
			o.quick, o.sizes = true, quick()
			o.sizes.publishes = 7
		}},
		{"lists and durations", []string{"-at-once", "5, 9", "-volumes=0,3", "-idle", "1m", "-only", "idle,size"}, func(o *options) {
			o.only = "idle,size"
			o.sizes.atOnce, o.sizes.volumes, o.sizes.idle = list{5, 9}, list{0, 3}, time.Minute
		}},
	} {
		want := options{key: "algorithm: ECDSA, size: 521", images: "bin/bench-images", sizes: full()}
		row.want(&want)
		got, err := parse(row.args, &bytes.Buffer{})
		if err != nil || !equal(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", row.name, got, err, want)
		}
	}
}

func equal(a, b options) bool {
	same := slices.Equal(a.sizes.atOnce, b.sizes.atOnce) && slices.Equal(a.sizes.volumes, b.sizes.volumes)
	for _, o := range []*options{&a, &b} {
		o.sizes.atOnce, o.sizes.volumes = nil, nil
	}
	return same && a.only == b.only && a.key == b.key && a.out == b.out && a.images == b.images && a.list == b.list && a.quick == b.quick &&
		a.sizes.publishes == b.sizes.publishes && a.sizes.idle == b.sizes.idle && a.sizes.foreign == b.sizes.foreign
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		args []string
		want error // nil: any
	}{
		{"no rounds", []string{"-rounds", "0"}, errSizes},
		{"none at once", []string{"-at-once", "10,0"}, errSizes},
		{"fewer volumes after more", []string{"-volumes", "110,0"}, errSizes},
		{"no number", []string{"-at-once", "ten"}, nil},
		{"an argument that is no flag", []string{"publish"}, nil},
	} {
		if _, err := parse(row.args, &bytes.Buffer{}); err == nil || row.want != nil && !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
}

// errBroken is why a scenario of these tests fails.
var errBroken = errors.New("broken")

func works(_ context.Context, _ *bench, into *result.Scenario) error {
	into.Measurements = []result.Measurement{{Name: "one", Unit: result.Second, Shape: result.Bar, Product: []float64{2}, Floor: []float64{1}}}
	return nil
}

func broken(ctx context.Context, b *bench, into *result.Scenario) error {
	return errors.Join(works(ctx, b, into), errBroken)
}

func TestAScenarioThatFailsDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "new")
	chosen := []scenario{{name: "first", run: broken}, {name: "second", run: works}}
	err := measureAll(t.Context(), nil, chosen, &result.Run{}, folder)
	if !errors.Is(err, errScenario) || !strings.HasSuffix(err.Error(), ": first") {
		t.Errorf("got %v, want %v: first", err, errScenario)
	}
	run, err := result.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Scenarios) != 2 || run.Scenarios[0].Error != errBroken.Error() || run.Scenarios[1].Error != "" {
		t.Errorf("kept: %+v", run.Scenarios)
	}
	for _, s := range run.Scenarios {
		if len(s.Measurements) != 1 {
			t.Errorf("%s: what was measured is lost: %+v", s.Name, s)
		}
	}
	summary, err := os.ReadFile(filepath.Join(folder, "summary.md"))
	if err != nil || !strings.Contains(string(summary), "This scenario failed: broken") {
		t.Errorf("summary.md: %v\n%s", err, summary)
	}
}

func TestARunThatIsInterruptedKeepsWhatThereIs(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancelCause(t.Context())
	interrupt := func(context.Context, *bench, *result.Scenario) error { stop(errBroken); return nil }
	folder := t.TempDir()
	err := measureAll(ctx, nil, []scenario{{name: "first", run: works}, {name: "second", run: interrupt}, {name: "third", run: works}}, &result.Run{}, folder)
	if !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
	if run, err := result.Load(folder); err != nil || len(run.Scenarios) != 2 {
		t.Errorf("kept: %+v, %v", run, err)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, only string
		want       []string
	}{
		{"in the order of the table", "backlog,publish", []string{"publish", "backlog"}},
		{"one", "idle", []string{"idle"}},
	} {
		chosen, err := choose(scenarios(), row.only)
		var got []string
		for _, s := range chosen {
			got = append(got, s.name)
		}
		if err != nil || !slices.Equal(got, row.want) {
			t.Errorf("%s: got %v, %v, want %v", row.name, got, err, row.want)
		}
	}
	if all, err := choose(scenarios(), ""); err != nil || len(all) != len(scenarios()) {
		t.Errorf("none named: got %d of %d, %v", len(all), len(scenarios()), err)
	}
	if _, err := choose(scenarios(), "publish,publsh"); !errors.Is(err, errUnknown) || !strings.Contains(err.Error(), "publsh") {
		t.Errorf("a misspelt name: got %v, want %v", err, errUnknown)
	}
}

func TestEachScenarioSaysWhatItIs(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range scenarios() {
		if s.name == "" || seen[s.name] || s.run == nil || !strings.HasSuffix(s.about, ".") || !strings.HasSuffix(s.floor, ".") {
			t.Errorf("%q: needs a name of its own, two sentences and a function", s.name)
		}
		seen[s.name] = true
	}
}

func TestFieldOfCPUInfo(t *testing.T) {
	t.Parallel()
	info := []byte("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: another\n")
	if got := field(info, "model name", "unknown"); got != "Some CPU @ 2 GHz" {
		t.Errorf("got %q", got)
	}
	if got := field(info, "Hardware", "unknown"); got != "unknown" {
		t.Errorf("a name that is not there: got %q", got)
	}
}
