// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon/daemontest"
)

func TestMain(m *testing.M) { daemontest.Main(m, "csi-driver-spiffe-approver", main) }

func TestScripts(t *testing.T) {
	t.Parallel()
	daemontest.RunScripts(t)
}
