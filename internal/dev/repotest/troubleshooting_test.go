// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package repotest

import (
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// What README tells people who are in trouble is provoked by a test, row by row;
// see package troubleshooting.
func TestEachRowOfTroubleshootingIsProvoked(t *testing.T) {
	t.Parallel()
	documented, err := troubleshooting.Documented()
	if err != nil {
		t.Fatal(err)
	}
	provoked := map[troubleshooting.Row]bool{}
	for _, f := range goFiles(t) {
		if !f.isTest() || f.dir() == "internal/dev/testkit/troubleshooting" {
			continue
		}
		for row, pos := range troubleshooting.Named(f.fset, f.ast) {
			provoked[row] = true
			if _, ok := documented[row]; !ok {
				t.Errorf("%s: README's section Troubleshooting has no row `%s`", pos, row)
			}
		}
	}
	for row, place := range documented {
		if !provoked[row] {
			t.Errorf("README, %s: no test provokes `%s`: name it as troubleshooting.Row in one that does", place.Table, row)
		}
	}
}
