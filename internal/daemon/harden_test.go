// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A program that runs leaves no core behind, and no file for others to read.
func TestProgramIsHardened(t *testing.T) {
	start(t, minimal+serving)
	var limit unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_CORE, &limit))
	if limit.Cur != 0 || limit.Max != 0 {
		t.Errorf("cores may have %d bytes, the limit can be raised to %d", limit.Cur, limit.Max)
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || dumpable != 0 {
		t.Errorf("dumpable is %d, %v", dumpable, err)
	}
	umask := unix.Umask(0o077)
	if umask != 0o077 {
		t.Errorf("umask %03o", umask)
	}
}
