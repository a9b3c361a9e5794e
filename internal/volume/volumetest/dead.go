// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package volumetest makes what tests of mounts need.
package volumetest

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// MountDead mounts at a folder, which it makes if need be, a file system whose daemon
// is gone: it answers everything with ENOTCONN. The test is skipped where there is no
// FUSE. Whoever calls it unmounts it.
func MountDead(t *testing.T, path string) {
	t.Helper()
	daemon, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("needs FUSE for a file system that is dead: %v", err)
	}
	defer func() { _ = daemon.Close() }()
	if err := os.MkdirAll(path, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("dead", path, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", daemon.Fd())); err != nil {
		t.Skipf("needs FUSE for a file system that is dead: %v", err)
	}
}
