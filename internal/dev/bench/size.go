// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

// measureSizes looks at what the Makefile has built, each in the same way.
func measureSizes(_ context.Context, b *bench, into *result.Scenario) error {
	for _, kind := range []struct{ group, folder, end string }{
		{"program", "bin", ""},
		{"image", b.images, ".tar"},
	} {
		bare, err := size(filepath.Join(kind.folder, "bench-bare"+kind.end))
		if err != nil {
			return err
		}
		for _, name := range []string{"csi-driver-spiffe", "csi-driver-spiffe-approver"} {
			own, err := size(filepath.Join(kind.folder, name+kind.end))
			if err != nil {
				return err
			}
			into.Measurements = append(into.Measurements, result.Measurement{
				Group: kind.group, Name: name, Unit: result.Byte, Shape: result.Bar, Exact: true, Product: []float64{own}, Floor: []float64{bare},
			})
		}
	}
	return nil
}

// size is that of a file, in bytes.
func size(path string) (float64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("%w (`make bench` builds it)", err)
	}
	return float64(info.Size()), nil
}
