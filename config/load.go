// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"io"
	"os"
)

// maxSize of a file, in bytes: what a ConfigMap can hold.
const maxSize = 1 << 20

// Load reads and checks the file at path, or standard input when path is "-".
// The error is [Faults] when the content is wrong, else what the operating
// system says.
func Load(path string) (*Config, error) {
	if path == "-" {
		return load(nameOf(path), os.Stdin)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, openError(err)
	}
	defer file.Close()
	return load(nameOf(path), file)
}

// nameOf a file in messages.
func nameOf(path string) string {
	if path == "-" {
		return "<stdin>"
	}
	return path
}

func load(name string, r io.Reader) (*Config, error) {
	data, err := readAll(r)
	if err != nil {
		return nil, err
	}
	return Parse(name, data)
}

// Parse checks the content of a file. The name is only for messages. The error
// is [Faults], with every fault of the file but for those that a syntax error
// hides.
func Parse(filename string, data []byte) (*Config, error) {
	return parse(filename, data, versions())
}

func parse(filename string, data []byte, understood []version) (*Config, error) {
	r := newReader(filename, understood)
	root := r.document(data)
	if root == nil {
		return nil, r.result()
	}
	v, found := r.versionOf(root)
	if !found {
		return nil, r.result()
	}
	return v.parse(r, root)
}

func openError(err error) error {
	return fmt.Errorf("cannot open the configuration file: %w", err)
}

// readAll reads one byte more than is allowed, which is enough for Parse to
// refuse it.
func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration file: %w", err)
	}
	return data, nil
}
