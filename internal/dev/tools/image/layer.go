// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"io"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// An entry is a file of a layer; root's.
type entry struct {
	path   string // absolute
	mode   int64
	data   []byte
	target string // of a symbolic link, which has no data
}

// A layer is some files of an image.
type layer struct {
	v1.Layer
	comment string
	size    int64 // of the files together
}

// newLayer makes a layer of files, with the folders that they are in. Neither
// has a time.
func newLayer(entries []entry) (layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	l := layer{}
	var names, folders []string
	for _, e := range entries {
		for _, folder := range parents(e.path) {
			if slices.Contains(folders, folder) {
				continue
			}
			folders = append(folders, folder)
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o755}); err != nil {
				return layer{}, err
			}
		}
		if err := writeEntry(w, e); err != nil {
			return layer{}, err
		}
		l.size += int64(len(e.data))
		names = append(names, e.path)
	}
	if err := w.Close(); err != nil {
		return layer{}, err
	}
	l.comment = strings.Join(names, " ")
	var err error
	l.Layer, err = tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching,
	)
	return l, err
}

// parents are the folders above an absolute path, without a leading slash, the
// topmost first.
func parents(name string) []string {
	var all []string
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		all = append(all, strings.TrimPrefix(dir, "/"))
	}
	slices.Reverse(all)
	return all
}

func writeEntry(w *tar.Writer, e entry) error {
	name := strings.TrimPrefix(e.path, "/")
	if e.target == "" {
		return writeFile(w, name, e.mode, e.data)
	}
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: e.target, Mode: e.mode})
}

func writeFile(w *tar.Writer, name string, mode int64, data []byte) error {
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))})
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// rootCertificates are the roots that Mozilla trusts, in PEM. Those that it
// trusts in part only are left out: a PEM file cannot say so.
func rootCertificates() ([]byte, error) {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
