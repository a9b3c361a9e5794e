// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

const minimal = `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: my.trust.domain
issuerRef:
  name: csi-driver-spiffe-ca
`

func parse(t *testing.T, data string) *config.Config {
	t.Helper()
	c, err := config.Parse("config.yaml", []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFiveFaultsAreFiveWithLines(t *testing.T) {
	t.Parallel()
	_, err := config.Load(testdata + "/bad-five-faults.yaml")
	var got []string
	for _, f := range faultsOf(t, err) {
		got = append(got, fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Path))
	}
	want := []string{
		"3:14 trustDomain",
		"7:13 certificate.duration",
		"10:11 certificate.privateKey.size",
		"12:3 volume.defaultFSgroup",
		"15:3 driver.httpAddress",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFaultFormat(t *testing.T) {
	t.Parallel()
	faults := config.Faults{
		{File: "a.yaml", Line: 1, Column: 2, Message: "is empty"},
		{File: "a.yaml", Line: 3, Column: 4, Path: "volume.tmpfsPath", Message: "is wrong"},
	}
	want := "a.yaml:1:2: is empty\na.yaml:3:4: volume.tmpfsPath: is wrong"
	if got := faults.Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A value is shown in part, on one line, whatever is in it.
func TestFaultsAreSafeToPrint(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 100_000)
	tests := map[string]string{
		"long value":          "observability: {logging: {level: " + long + "}}",
		"long field":          long + ": 1",
		"long annotation":     "certificate: {requestAnnotations: {? " + long + " : 1}}",
		"long number":         "volume: {defaultFSGroup: " + strings.Repeat("9", 100_000) + "}",
		"long alias":          "volume: *" + long,
		"newline in value":    `trustBundle: {path: "a\nb"}`,
		"newline in field":    `"a\nb": 1`,
		"escape in value":     `trustBundle: {path: "\e[31m"}`,
		"escape in field":     `"\e[31m": 1`,
		"escape in key":       `certificate: {requestAnnotations: {"\e[31m": a}}`,
		"right to left value": `trustBundle: {path: "` + "\u202e" + `gpj"}`,
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse("f", []byte(minimal+text))
			for _, f := range faultsOf(t, err) {
				line := f.Error()
				if len(line) > 1000 {
					t.Errorf("%d bytes: %.300s", len(line), line)
				}
				if strings.ContainsAny(line, "\n\r\x1b\u202e") {
					t.Errorf("unsafe: %q", line)
				}
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	annotation := "certificate:\n  requestAnnotations:\n    example.org/a: " + strings.Repeat("a", 12<<10)
	tests := map[string]struct{ data, want string }{
		"file":        {minimal + "#" + strings.Repeat("a", 1<<20), "f:1:1: is too large, must be at most 1048576 bytes"},
		"annotations": {minimal + annotation, "f:8:5: certificate.requestAnnotations: is too large (got 12333 bytes, with 32 for each entry), must be at most 12288"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse("f", []byte(test.data))
			if got := faultsOf(t, err).Error(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
