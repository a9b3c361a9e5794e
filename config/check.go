// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
)

// CheckFile is what --validate-config and --print-config do: it loads the file
// at path, or standard input for "-", and writes to stdout the file with its
// defaults filled in when full is set, else one line that says it is valid.
//
// What is valid and known not to work ([Config.Warnings]) goes to stderr, a line each,
// unless full is set; the file is valid all the same.
//
// If it is not, every fault goes to stderr, a line each, and their number after
// them. The error is then what Load returned; it has been reported already, so
// that all there is to do with it is to exit with 1.
func CheckFile(path string, full bool, stdout, stderr io.Writer) error {
	c, err := Load(path)
	var faults Faults
	switch {
	case errors.As(err, &faults):
		fmt.Fprintf(stderr, "%s\n%s\n", err, count(len(faults), "fault"))
		return err
	case err != nil:
		fmt.Fprintln(stderr, err)
		return err
	case full:
		return printConfig(c, stdout)
	}
	for _, warning := range c.Warnings() {
		fmt.Fprintln(stderr, warning)
	}
	_, err = fmt.Fprintf(stdout, "%s: valid (%s, hash %s)\n", nameOf(path), c.apiVersion, c.Hash())
	return err
}

func printConfig(c *Config, out io.Writer) error {
	data, err := c.YAML()
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
