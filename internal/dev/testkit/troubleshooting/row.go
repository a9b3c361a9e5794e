// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package troubleshooting

import (
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Row is what somebody sees: the code at the beginning of a row of README's
// tables, without the backquotes. An ellipsis (…) stands for anything, in one
// line. It is a constant in the code of the test that provokes it.
type Row string

// In reports whether a text has what the row describes in it. Quotation marks
// may be escaped, as in a log.
func (r Row) In(said string) bool {
	parts := strings.Split(string(r), "…")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	return regexp.MustCompile(strings.Join(parts, ".*")).MatchString(strings.ReplaceAll(said, `\"`, `"`))
}

// Seen fails the test unless README has the row, and said, which somebody has
// really been told, is what it describes. It may be called from any goroutine.
func (r Row) Seen(t testing.TB, said string) {
	t.Helper()
	rows, err := Documented()
	switch {
	case err != nil:
		t.Error(err)
	case rows[r].line == 0:
		t.Errorf("README has no row in its section Troubleshooting that begins with `%s`", r)
	case !r.In(said):
		t.Errorf("README says that people see `%s`, and they see: %.2000s", r, said)
	default:
		witnessed.Store(r, true)
	}
}

// witnessed has the rows that were seen in this process.
var witnessed sync.Map
