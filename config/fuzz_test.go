// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"regexp"
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
			checkPlaces(t, err, string(data))
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

// lineBreak is what ends a line for yaml/v3.
var lineBreak = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")

// checkPlaces: a fault is within the file, and one that quotes a plain word or number
// points at it. No fault is of the file as a whole because parsers disagree: the value
// that they disagree on is known.
func checkPlaces(t *testing.T, err error, data string) {
	t.Helper()
	lines := lineBreak.Split(strings.TrimPrefix(data, "\ufeff"), -1)
	for _, fault := range faultsOf(t, err) {
		if fault.Line > len(lines) {
			t.Errorf("%v is below the last line, %d", fault, len(lines))
			continue
		}
		line := []rune(lines[fault.Line-1])
		if fault.Column > len(line)+1 {
			t.Errorf("%v is right of the end of the line, %d", fault, len(line))
			continue
		}
		if strings.Contains(fault.Message, "understood differently") {
			t.Errorf("%v: of what does it complain?", fault)
		}
		there := string(line[fault.Column-1:])
		if strings.HasPrefix(there, "!") || strings.HasPrefix(there, "&") {
			continue // a tag or an anchor belongs to what it stands before
		}
		if match := unquoted.FindStringSubmatch(fault.Message); len(match) > 1 && match[1] != "nothing" && !strings.HasPrefix(there, match[1]) {
			t.Errorf("%v: there is %q", fault, there)
		}
	}
}

// unquoted finds the plain scalar that a message quotes.
var unquoted = regexp.MustCompile(`^(?:is of the wrong type|is a boolean to some .*|has a key .*) \(got ([-+.\w]+)\)`)
