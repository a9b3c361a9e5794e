// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
)

// No value is known that the two YAML parsers read differently and that has not been
// rejected before: one of the readings is changed here.
func TestDecodeNamesTheFieldThatParsersDisagreeOn(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../testdata/config/good-full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		path   string
		change func(*v1alpha1.SPIFFEConfiguration)
		place  string
	}{
		{"trustDomain", func(c *v1alpha1.SPIFFEConfiguration) { c.TrustDomain = "true" }, "f:4:14: trustDomain: "},
		{"a list", func(c *v1alpha1.SPIFFEConfiguration) { c.Approver.IgnoredLabels[0] = "true" }, "approver.ignoredLabels: "},
		{"an entry of a map", func(c *v1alpha1.SPIFFEConfiguration) {
			c.Certificate.RequestAnnotations["example.org/team"] = "true"
		}, `certificate.requestAnnotations["example.org/team"]: `},
	} {
		t.Run(row.path, func(t *testing.T) {
			t.Parallel()
			r := newReader("f", versions())
			root := r.document(data)
			checked, decoded := v1alpha1.Default(), v1alpha1.Default()
			r.read("", root, reflect.ValueOf(checked).Elem())
			row.change(checked)
			err := r.decode(root, checked, decoded, func() {})
			if err == nil || !strings.Contains(err.Error(), row.place) || strings.HasPrefix(err.Error(), "f:1:1:") {
				t.Errorf("got %v, want %s", err, row.place)
			}
		})
	}
}
