// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

func TestLoadOfNoFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.yaml")
	_, err := config.Load(path)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want ErrNotExist with the path", err)
	}
}

func TestLoadOfFolder(t *testing.T) {
	t.Parallel()
	if _, err := config.Load(t.TempDir()); err == nil {
		t.Error("a folder was loaded")
	}
}

// Standard input belongs to the process: this test is not parallel.
func TestLoadOfStandardInput(t *testing.T) {
	for name, want := range map[string]string{
		"good-minimal.yaml": "<stdin>: valid (config.spiffe.csi.cert-manager.io/v1alpha1, hash f861b9730a07abba)\n",
		"bad-empty.yaml":    "<stdin>:1:1: is empty, must be one YAML document\n1 fault\n",
	} {
		file, err := os.Open(filepath.Join(testdata, name))
		if err != nil {
			t.Fatal(err)
		}
		stdin := os.Stdin
		os.Stdin = file
		var out bytes.Buffer
		err = config.CheckFile("-", false, &out, &out)
		os.Stdin = stdin
		file.Close()
		if got := out.String(); got != want {
			t.Errorf("%s: got %q (%v), want %q", name, got, err, want)
		}
	}
}
