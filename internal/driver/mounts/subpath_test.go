// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package mounts_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
)

func TestSubPathContainers(t *testing.T) {
	t.Parallel()
	pod := filepath.Join(t.TempDir(), "pods", "uid")
	for _, folder := range []string{"one/app/0", "many/a/0", "many/b/0", "many/c/0", "many/d/1", "many/e/0"} {
		check(t, os.MkdirAll(filepath.Join(pod, "volume-subpaths", folder), 0o700))
	}
	for _, row := range []struct{ name, volume, want string }{
		{"no container", "none", ""},
		{"one container", "one", "app"},
		{"many containers", "many", "a, b, c, 2 more"},
	} {
		target := filepath.Join(pod, "volumes", "kubernetes.io~csi", row.volume, "mount")
		if got := mounts.SubPathContainers(target); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
	if got := mounts.SubPathContainers("/somewhere"); got != "" {
		t.Errorf("of what is no target: %q", got)
	}
}
