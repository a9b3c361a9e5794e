// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"io"
	"os"

	"go.yaml.in/yaml/v3"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
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
	r := newReader(filename)
	root := r.document(data)
	if root == nil {
		return nil, r.result()
	}
	return versionOf(root).parse(r, root)
}

// version is one apiVersion of the file. Each has its own wire form; the
// running form is the same for all.
type version struct {
	apiVersion string
	// parse gives r.result() as its error.
	parse func(r *reader, root *yaml.Node) (*Config, error)
}

// versions lists those that are understood, the newest last.
func versions() []version {
	return []version{
		{v1alpha1.APIVersion, parseV1alpha1},
	}
}

// apiVersions are the names of versions.
func apiVersions() []string {
	var names []string
	for _, v := range versions() {
		names = append(names, v.apiVersion)
	}
	return names
}

// versionOf picks what the file's apiVersion asks for. A file whose apiVersion
// is missing or wrong is read as the newest, so that this and its other faults
// are reported together.
func versionOf(root *yaml.Node) version {
	all := versions()
	node := lookup(root, "apiVersion")
	for _, v := range all {
		if node != nil && node.Value == v.apiVersion {
			return v
		}
	}
	return all[len(all)-1]
}
