// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import "runtime/debug"

// version is stamped by the Makefile: -ldflags "-X …/internal/daemon.version=v1.2.3".
var version = ""

// Version returns the version of this program: what the build stamped, else
// what the Go toolchain knows of the module, else "devel".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
