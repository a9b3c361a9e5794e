// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import "testing"

// No test can be in another user namespace than it is.
func TestMapsAllIDs(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		ids  string
		want bool
	}{
		"the first user namespace": {"         0          0 4294967295\n", true},
		"hostUsers: false":         {"         0    1048576      65536\n", false},
		"unshare --map-root-user":  {"         0       1000          1\n", false},
		"rootless, two ranges":     {"         0       1000          1\n         1     100000      65536\n", false},
		"nothing mapped yet":       {"", false},
	} {
		if got := mapsAllIDs(row.ids); got != row.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
