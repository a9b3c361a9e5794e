// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/node"
)

// unpack makes what looks like unpacked packages, but for some programs.
func unpack(t *testing.T, without ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, program := range []string{
		"usr/bin/containerd", "usr/bin/containerd-shim-runc-v2", "usr/bin/ctr", "usr/sbin/runc",
		"usr/lib/cni/bridge", "usr/lib/cni/host-local", "usr/lib/cni/loopback",
	} {
		if strings.Contains(strings.Join(without, " "), filepath.Base(program)) {
			continue
		}
		path := filepath.Join(dir, program)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestUnpackedProgramsComeFirst(t *testing.T) {
	t.Parallel()
	dir := unpack(t)
	programs, err := node.FindPrograms(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := programs.Find("runc"), filepath.Join(dir, "usr/sbin/runc"); got != want {
		t.Errorf("runc is %s, want %s", got, want)
	}
	if want := filepath.Join(dir, "usr/lib/cni"); programs.CNI != want {
		t.Errorf("CNI plugins are in %s, want %s", programs.CNI, want)
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	t.Parallel()
	for _, installed := range []string{"/usr/bin/containerd", "/usr/sbin/runc", "/usr/lib/cni/bridge", "/opt/cni/bin/bridge"} {
		if _, err := os.Stat(installed); err == nil {
			t.Skipf("this machine has %s", installed)
		}
	}
	_, err := node.FindPrograms(unpack(t, "runc", "bridge"))
	for _, want := range []string{"runc", "CNI plugins", "containernetworking-plugins"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), "needs containerd") {
		t.Errorf("containerd is there, but the error is %v", err)
	}
}

// Outside the namespaces that Enter makes, nothing may be started.
func TestNewOutsideTheNamespaces(t *testing.T) {
	t.Parallel()
	if _, err := node.New(node.Options{PauseImage: "pause"}); err == nil || !strings.Contains(err.Error(), "not in the namespaces") {
		t.Errorf("error is %v", err)
	}
}
