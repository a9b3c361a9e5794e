// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"io"
	"os"
	"regexp"

	"go.yaml.in/yaml/v3"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
)

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

func load(name string, r io.Reader) (*Config, error) {
	data, err := readAll(r)
	if err != nil {
		return nil, err
	}
	return Parse(name, data)
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

// maxSize of a file, in bytes: what a ConfigMap can hold.
const maxSize = 1 << 20

// nameOf a file in messages.
func nameOf(path string) string {
	if path == "-" {
		return "<stdin>"
	}
	return path
}

func openError(err error) error {
	return fmt.Errorf("cannot open the configuration file: %w", err)
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

// version is one apiVersion of the file. Each has its own wire form; the
// running form is the same for all. A new one is a package of wire types like
// v1alpha1, a file like v1alpha1.go, and a line in versions.
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

// otherVersion is what versions of this format look like, when they are not
// misspelt.
var otherVersion = regexp.MustCompile(`^config\.spiffe\.csi\.cert-manager\.io/v\d+((alpha|beta)\d+)?$`)

// versionOf picks what the file's apiVersion asks for. A file whose apiVersion
// is missing or wrong is read as the newest, so that this and its other faults
// are reported together. But a file that is written for another release of this
// program is not: nothing can be said about its fields.
func (r *reader) versionOf(root *yaml.Node) (v version, found bool) {
	newest := r.versions[len(r.versions)-1]
	node := lookup(root, "apiVersion")
	if node == nil || node.Kind != yaml.ScalarNode {
		return newest, true
	}
	for _, v := range r.versions {
		if node.Value == v.apiVersion {
			return v, true
		}
	}
	if otherVersion.MatchString(node.Value) {
		r.fault(node, "apiVersion", wrong("is not understood by this release", describe(node),
			"must be "+r.apiVersions()+"; the rest of the file has not been looked at"))
		return version{}, false
	}
	return newest, true
}

// apiVersions that are understood, for messages.
func (r *reader) apiVersions() string {
	var names []string
	for _, v := range r.versions {
		names = append(names, v.apiVersion)
	}
	return oneOf(names)
}
