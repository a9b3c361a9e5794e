// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/node"
)

// mountAll makes the file system of this mount namespace that of the node.
func mountAll(settings node.Settings) error {
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		// No longer what the machine mounts; and what is mounted in a container with
		// mountPropagation Bidirectional is to reach the node.
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"", "/", "", unix.MS_REC | unix.MS_SHARED, ""},
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{settings.Lib(), "/var/lib", "", unix.MS_BIND, ""},
		{settings.Log(), "/var/log", "", unix.MS_BIND, ""},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mounting %s: %w", m.target, err)
		}
	}
	// The kubelet insists on a root folder that is there.
	if err := os.MkdirAll("/var/lib/kubelet", 0o755); err != nil {
		return err
	}
	return pretendSysctls()
}

// sysctls are settings of the machine that the kubelet would change.
func sysctls() map[string]string {
	return map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	}
}

// pretendSysctls puts files over the machine's settings, in which the kubelet
// finds what it wants.
func pretendSysctls() error {
	if err := os.Mkdir("/run/sysctl", 0o700); err != nil {
		return err
	}
	for name, value := range sysctls() {
		file := filepath.Join("/run/sysctl", strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		err := unix.Mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, "")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("hiding the machine's %s: %w", name, err)
		}
	}
	return nil
}
