// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// addNamed puts the index into a layout, by the names under which programs that
// read the archive know it.
func (s spec) addNamed(l layout.Path, index v1.ImageIndex) error {
	return l.AppendIndex(index, layout.WithAnnotations(map[string]string{
		annotationContainerdName: s.name + ":" + s.version,
		annotationRefName:        s.version,
	}))
}

// writeArchive writes an OCI image layout as a tar archive. It appears whole or
// not at all.
func (s spec) writeArchive(index v1.ImageIndex) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(s.output), ".image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		return err
	}
	if err := s.addNamed(l, index); err != nil {
		return err
	}
	archive := filepath.Join(dir, "archive")
	if err := tarFolder(archive, string(l)); err != nil {
		return err
	}
	return os.Rename(archive, s.output)
}

// tarFolder writes the files below a folder into an archive: in the order of
// their names, root's, without times.
func tarFolder(archive, folder string) (err error) {
	f, err := os.OpenFile(archive, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // Others may read it.
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	files := os.DirFS(folder)
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		return writeFile(w, name, 0o644, data)
	})
	return errors.Join(err, w.Close())
}

// report says what was made, and how large it is.
func (s spec) report(out io.Writer, index v1.ImageIndex, images []image) error {
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	info, err := os.Stat(s.output)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s:%s\n  %s\n  %s, %s\n", s.name, s.version, digest, s.output, mebibytes(info.Size()))
	for _, img := range images {
		compressed, err := compressedSize(img)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %s: %s to pull, %s on disk, user %s\n", img.platform, mebibytes(compressed), mebibytes(img.size), s.user)
	}
	return nil
}

// compressedSize is what a node downloads.
func compressedSize(img v1.Image) (int64, error) {
	layers, err := img.Layers()
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for _, l := range layers {
		size, err := l.Size()
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, nil
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
