// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// GroupExists reports whether files can be given to a group: as root they can
// be given to any, in a user namespace only to those that are mapped into it.
func GroupExists(gid uint64) bool {
	data, err := os.ReadFile("/proc/self/gid_map")
	if err != nil {
		return false
	}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		var inside, outside, count uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil && gid >= inside && gid-inside < count {
			return true
		}
	}
	return false
}

// RequireGroup skips the test if files cannot be given to the group.
func RequireGroup(t testing.TB, gid uint64) {
	t.Helper()
	if !GroupExists(gid) {
		t.Skipf("needs group %d, which this user namespace does not have: run the tests as root", gid)
	}
}
