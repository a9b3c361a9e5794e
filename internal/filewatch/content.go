// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package filewatch

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"syscall"
)

// Content is what was found at a path: bytes, or why they cannot be read.
type Content struct {
	// Data may be one byte longer than is allowed: it was not read to its end.
	Data []byte
	// Err is what the operating system said, or wraps [ErrNotRegular].
	Err error
}

// ErrNotRegular is why a pipe, a device or a folder is not read.
var ErrNotRegular = errors.New("it is not a regular file")

// Read returns the content of the file at path, of which it reads most+1 bytes
// at most, so that whoever judges it can tell that it is too large. It never
// blocks, as opening a pipe might.
func Read(path string, most int64) Content {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Content{Err: err}
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && !info.Mode().IsRegular() {
		return Content{Err: &os.PathError{Op: "open", Path: path, Err: ErrNotRegular}}
	}
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return Content{Err: err}
	}
	return Content{Data: data}
}

// digest identifies a content.
type digest [sha256.Size]byte

// digest is never zero, and that of an error not that of any bytes.
func (c Content) digest() digest {
	if c.Err != nil {
		return sha256.Sum256([]byte("error " + c.Err.Error()))
	}
	return sha256.Sum256(append([]byte("bytes "), c.Data...))
}
