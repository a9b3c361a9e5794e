// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

// InTwoSteps has mounts made as on kernels before 5.12.
func InTwoSteps() Setting { return func(s *Store) { s.inTwoSteps = true } }

// IsInTable is what tells of mounts on kernels before 5.6.
func IsInTable(path string) (bool, error) { return isInTable(path) }
