// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package troubleshooting

import (
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestRowIsInWhatWasSaid(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		row  Row
		said string
		want bool
	}{
		{"in the middle", "denied by approver", "x denied by approver: y", true},
		{"something else", "denied by approver", "approved", false},
		{"ellipsis", "target_path … is not in …/pods", "target_path /x is not in /kubelet/pods, where", true},
		{"ellipsis for nothing", "a …b", "a b", true},
		{"not across lines", "a … b", "a \n b", false},
		{"in another order", "a … b", "b a", false},
		{"what means something in patterns", "volumes[].csi (a|b)", "volumes[].csi (a|b).", true},
		{"and does not", "a.c", "abc", false},
		{"escaped in a log", `type "X"`, `error="type \"X\""`, true},
	} {
		if got := test.row.In(test.said); got != test.want {
			t.Errorf("%s: `%s` in %q: %t", test.name, test.row, test.said, got)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	const before, head = "## Use it\n\n| `not of the section` | x |\n\n## Troubleshooting\n\n### When\n\n", "| says | why | do |\n|---|---|---|\n"
	rows, err := parse(before + head + "| `the one … row` (in a log) | why | do |\n\n## More\n\n| `not either` | x |\n")
	if err != nil || len(rows) != 1 || rows["the one … row"] != (Place{"When", 11}) {
		t.Errorf("got %v, %v", rows, err)
	}
	for name, test := range map[string]struct{ row, want string }{
		"no section": {"", "no rows"},
		"no code":    {"| text | why | do |", "`what is seen`"},
		"two cells":  {"| `the one row` | why |", "2 cells"},
		"empty cell": {"| `the one row` | | do |", "empty"},
		"vague":      {"| `… a …` | why | do |", "too little"},
		"twice":      {"| `the one row` | why | do |\n| `the one row` | why | do |", "in line 11 already"},
	} {
		if _, err := parse(before + head + test.row + "\n"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestReadmeIsParsed(t *testing.T) {
	t.Parallel()
	if rows, err := Documented(); err != nil || len(rows) < 40 {
		t.Errorf("%d rows: %v", len(rows), err)
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "x_test.go", `package x
var rows = map[string]troubleshooting.Row{"a": troubleshooting.Row("in a table"), "b": "not converted"}
func f() { troubleshooting.Row("quoted \"so\"").Seen(t, said); Row("of another package"); troubleshooting.Row(x) }`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(Named(fset, file))), []Row{"in a table", `quoted "so"`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
