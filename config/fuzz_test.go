// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// FuzzParse: what parses satisfies the schema, and also parses once it is printed,
// to the same hash; what does not has faults with positions and messages of one line.
func FuzzParse(f *testing.F) {
	entries, err := os.ReadDir(testdata)
	if err != nil {
		f.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".yaml") {
			data, err := os.ReadFile(testdata + "/" + entry.Name())
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	schema := compileSchema(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("fuzz.yaml", data)
		if err != nil {
			checkFaults(t, err)
			return
		}
		if err := checkSchema(schema, data); err != nil {
			t.Errorf("the schema is too strict: %v", err)
		}
		printed, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := config.Parse("printed.yaml", printed)
		if err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
		if again.Hash() != c.Hash() {
			t.Fatalf("hash %s becomes %s:\n%s", c.Hash(), again.Hash(), printed)
		}
	})
}

func checkFaults(t *testing.T, err error) {
	t.Helper()
	faults := faultsOf(t, err)
	if len(faults) == 0 {
		t.Error("no faults")
	}
	for i, fault := range faults {
		if fault.Line < 1 || fault.Column < 1 || fault.Message == "" || strings.ContainsAny(fault.Error(), "\n\r") {
			t.Errorf("%+v", fault)
		}
		if i > 0 && fault.Line < faults[i-1].Line {
			t.Errorf("%+v comes after line %d", fault, faults[i-1].Line)
		}
	}
}
