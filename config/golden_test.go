// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata/config")

const testdata = "../testdata/config"

// A good file has its defaulted form beside it. A new case is a new file, made
// golden by: go test ./config -update.
func TestGoodFiles(t *testing.T) {
	t.Parallel()
	for _, path := range glob(t, "good-*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			c, err := config.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.YAML()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".want", string(got))
			checkWarnings(t, path, c)

			again, err := config.Parse("again.yaml", got)
			if err != nil {
				t.Fatalf("what is printed is not valid: %v", err)
			}
			if again.Hash() != c.Hash() {
				t.Errorf("hash of what is printed is %s, of the file %s", again.Hash(), c.Hash())
			}
		})
	}
}

// A good file that is warned of has the warnings beside it; one without is not warned of.
func checkWarnings(t *testing.T, path string, c *config.Config) {
	t.Helper()
	var got strings.Builder
	for _, warning := range c.Warnings() {
		fmt.Fprintln(&got, strings.TrimPrefix(warning.String(), testdata+"/"))
	}
	expected := strings.TrimSuffix(path, ".yaml") + ".warn"
	if _, err := os.Stat(expected); err == nil || strings.Contains(path, "-warned") {
		golden(t, expected, got.String())
	} else if got.Len() > 0 {
		t.Errorf("warned of, and there is no %s:\n%s", expected, &got)
	}
}

// A bad file has every one of its faults beside it.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	for _, path := range glob(t, "bad-*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = config.Parse(filepath.Base(path), data)
			if faults := faultsOf(t, err); len(faults) == 0 {
				t.Fatal("no faults")
			}
			checkPlaces(t, err, string(data))
			golden(t, strings.TrimSuffix(path, ".yaml")+".err", err.Error()+"\n")
		})
	}
}

func TestDemoFile(t *testing.T) {
	t.Parallel()
	if _, err := config.Load(testdata + "/demo.yaml"); err != nil {
		t.Error(err)
	}
}

// Every golden file belongs to a case: none is left over from one that is gone.
func TestNoStrayGoldenFiles(t *testing.T) {
	t.Parallel()
	for _, path := range slices.Concat(glob(t, "*.want"), glob(t, "*.err"), glob(t, "*.warn")) {
		if _, err := os.Stat(strings.TrimSuffix(path, filepath.Ext(path)) + ".yaml"); err != nil {
			t.Error(err)
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("differs from %s (-want +got):\n%s", path, diff)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(testdata, pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return paths
}

func faultsOf(t *testing.T, err error) config.Faults {
	t.Helper()
	var faults config.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("error is %T (%v), must be Faults", err, err)
	}
	return faults
}
