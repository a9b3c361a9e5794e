// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// content is what was found at a path: bytes, or why they cannot be read.
type content struct {
	data []byte
	err  error
}

// errNotRegular is why a pipe, a device or a folder is not read.
var errNotRegular = errors.New("it is not a regular file")

// readContent never blocks, as opening a pipe might.
func readContent(path string) content {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return content{err: openError(err)}
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && !info.Mode().IsRegular() {
		return content{err: openError(&os.PathError{Op: "open", Path: path, Err: errNotRegular})}
	}
	data, err := readAll(file)
	return content{data, err}
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

// digest identifies a content.
type digest [sha256.Size]byte

// digest is never zero, and that of an error not that of any bytes.
func (c content) digest() digest {
	if c.err != nil {
		return sha256.Sum256([]byte("error " + c.err.Error()))
	}
	return sha256.Sum256(append([]byte("bytes "), c.data...))
}
