// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"errors"
	"path/filepath"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// UnmountAll removes whatever is mounted for the pods of a [Kubelet] with its
// files under root, and then the tmpfs of its driver.
func UnmountAll(root, tmpfs string) error {
	// The pattern is good, which is all that can be wrong.
	targets, _ := filepath.Glob(filepath.Join(root, "pods/*/volumes/*/*/mount"))
	var errs []error
	for _, target := range append(targets, tmpfs) {
		errs = append(errs, volume.Unmount(target))
	}
	return errors.Join(errs...)
}
