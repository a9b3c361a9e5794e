// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
)

func TestTextsFromOutsideAreCut(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, text        string
		truncated, quoted string
	}{
		{"empty", "", "", `""`},
		{"short", "web-0", "web-0", `"web-0"`},
		{"not printable", "a\nb", "a\nb", `"a\nb"`},
		{"as long as it may be", strings.Repeat("a", 300), strings.Repeat("a", 300), `"` + strings.Repeat("a", 300) + `"`},
		{"too long", strings.Repeat("a", 301), strings.Repeat("a", 300) + "… (301 bytes)", `"` + strings.Repeat("a", 300) + `"… (301 bytes)`},
		{"cut within a character", strings.Repeat("a", 299) + "ü", strings.Repeat("a", 299) + "… (301 bytes)", `"` + strings.Repeat("a", 75) + `"… (301 bytes)`},
		{"not printable, and longer in quotes", strings.Repeat("\x00", 300), strings.Repeat("\x00", 300), `"` + strings.Repeat(`\x00`, 75) + `"… (300 bytes)`},
	} {
		if got := observe.Truncate(row.text); got != row.truncated {
			t.Errorf("%s: truncated %q, want %q", row.name, got, row.truncated)
		}
		if got := observe.Quote(row.text); got != row.quoted {
			t.Errorf("%s: quoted %s, want %s", row.name, got, row.quoted)
		}
	}
}
