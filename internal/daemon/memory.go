// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"log/slog"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryRatio is how much of the container's memory the Go runtime may use. The rest is for
// the binary and the kernel's buffers.
const memoryRatio = 0.9

// limitMemory sets GOMEMLIMIT from the memory limit of the container, so that the garbage
// collector works harder before the kernel kills the process. limit returns the
// container's limit in bytes. GOMEMLIMIT and AUTOMEMLIMIT=off in the environment take
// precedence.
func limitMemory(log *slog.Logger, limit memlimit.Provider) {
	set, err := memlimit.SetGoMemLimitWithOpts(memlimit.WithProvider(limit), memlimit.WithRatio(memoryRatio))
	switch {
	case err != nil:
		log.Debug("the memory limit of the container is not known, so GOMEMLIMIT is not set", "error", err)
	case set > 0:
		log.Info("GOMEMLIMIT follows the memory limit of the container", "bytes", set)
	}
}
