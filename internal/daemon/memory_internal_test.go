// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// The limit is that of the whole process, so these cases do not run side by side.
func TestMemoryLimitFollowsTheContainer(t *testing.T) {
	const mebibyte = 1 << 20
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	for _, row := range []struct {
		name        string
		environment string
		limit       memlimit.Provider
		want        int64
		logged      string
	}{
		{"limited", "", memlimit.Limit(256 * mebibyte), 256 * mebibyte * 9 / 10, "GOMEMLIMIT follows"},
		{"not limited", "", func() (uint64, error) { return 0, memlimit.ErrNoLimit }, math.MaxInt64, ""},
		{"not known", "", func() (uint64, error) { return 0, errors.New("no cgroup") }, math.MaxInt64, "no cgroup"},
		{"set by the environment", "1GiB", memlimit.Limit(256 * mebibyte), math.MaxInt64, ""},
	} {
		debug.SetMemoryLimit(math.MaxInt64)
		if row.environment != "" {
			t.Setenv("GOMEMLIMIT", row.environment)
		}
		var log strings.Builder
		limitMemory(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), row.limit)
		if got := debug.SetMemoryLimit(-1); got != row.want {
			t.Errorf("%s: the limit is %d, want %d", row.name, got, row.want)
		}
		if !strings.Contains(log.String(), row.logged) || (row.logged == "") != (log.Len() == 0) {
			t.Errorf("%s: logged %q, want %q", row.name, log.String(), row.logged)
		}
	}
}
