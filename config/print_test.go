// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

func TestCheckFile(t *testing.T) {
	t.Parallel()
	const good, bad, none = testdata + "/good-minimal.yaml", testdata + "/bad-file-names-all-equal.yaml", testdata + "/none.yaml"
	tests := map[string]struct {
		path           string
		full           bool
		stdout, stderr string
	}{
		"good":       {path: good, stdout: good + ": valid (config.spiffe.csi.cert-manager.io/v1alpha1, hash f861b9730a07abba)\n"},
		"good, full": {path: good, full: true, stdout: read(t, testdata+"/good-minimal.want")},
		"bad":        {path: bad, stderr: testdata + "/" + strings.ReplaceAll(read(t, testdata+"/bad-file-names-all-equal.err"), "\nbad", "\n"+testdata+"/bad") + "2 faults\n"},
		"bad, full":  {path: testdata + "/bad-empty.yaml", full: true, stderr: testdata + "/" + read(t, testdata+"/bad-empty.err") + "1 fault\n"},
		"no file":    {path: none, stderr: "cannot open the configuration file: open " + none + ": no such file or directory\n"},
		"none, full": {path: none, full: true, stderr: "cannot open the configuration file: open " + none + ": no such file or directory\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			err := config.CheckFile(test.path, test.full, &stdout, &stderr)
			if failed, want := err != nil, test.stderr != ""; failed != want {
				t.Errorf("error is %v", err)
			}
			if stdout.String() != test.stdout || stderr.String() != test.stderr {
				t.Errorf("stdout %q, want %q\nstderr %q, want %q", &stdout, test.stdout, &stderr, test.stderr)
			}
		})
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
