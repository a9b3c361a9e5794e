// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package troubleshooting

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// heading begins the section, which ends with the next of its kind.
const heading = "## Troubleshooting"

// rule is between the head of a table and its rows.
const rule = "|---"

// cells of a row: what is seen, which begins with code; why; what to do.
const cells = 3

var code = regexp.MustCompile("^`([^`]+)`")

// Place is where README has a row.
type Place struct {
	// Table is the heading above the row.
	Table string

	line int
}

// Documented returns the rows of README's section Troubleshooting, for a test in
// a folder of this repository. The error tells of all rows that are not as they
// should be.
func Documented() (map[Row]Place, error) {
	root, err := root()
	if err != nil {
		return nil, err
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		return nil, err
	}
	return parse(string(readme))
}

// root is the folder with the go.mod of this repository.
func root() (string, error) {
	folder, err := os.Getwd()
	for ; err == nil; folder = filepath.Dir(folder) {
		if _, missing := os.Stat(filepath.Join(folder, "go.mod")); missing == nil {
			return folder, nil
		}
		if folder == filepath.Dir(folder) {
			err = errors.New("not run in the folder of a package")
		}
	}
	return "", err
}

func parse(readme string) (map[Row]Place, error) {
	rows := map[Row]Place{}
	var errs []error
	table, within := "", false
	lines := strings.Split(readme, "\n")
	for i, line := range lines {
		switch {
		case strings.HasPrefix(line, "## "):
			within = line == heading
		case !within:
		case strings.HasPrefix(line, "### "):
			table = strings.TrimPrefix(line, "### ")
		case !strings.HasPrefix(line, "|") || strings.HasPrefix(line, rule) || i+1 < len(lines) && strings.HasPrefix(lines[i+1], rule):
		default:
			row, err := parseRow(line)
			if before, twice := rows[row]; err == nil && twice {
				err = fmt.Errorf("it is in line %d already", before.line)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("README.md:%d: %w: %s", i+1, err, line))
				continue
			}
			rows[row] = Place{table, i + 1}
		}
	}
	if len(rows) == 0 {
		errs = append(errs, fmt.Errorf("README.md has no rows in a section %q", heading))
	}
	return rows, errors.Join(errs...)
}

func parseRow(line string) (Row, error) {
	row := strings.Split(strings.Trim(line, "| "), "|")
	if len(row) != cells {
		return "", fmt.Errorf("it has %d cells, want %d: what is seen, why, and what to do", len(row), cells)
	}
	for _, cell := range row {
		if strings.TrimSpace(cell) == "" {
			return "", errors.New("a cell is empty")
		}
	}
	seen := code.FindStringSubmatch(strings.TrimSpace(row[0]))
	if seen == nil {
		return "", errors.New("it does not begin with `what is seen`")
	}
	// What says too little is in too many messages.
	if words := strings.ReplaceAll(seen[1], "…", ""); len(words) < 8 {
		return "", errors.New("what is seen says too little")
	}
	return Row(seen[1]), nil
}
