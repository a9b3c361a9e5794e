// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// usage is what a process has used so far, and has.
type usage struct {
	cpu time.Duration
	// resident is in MiB.
	resident float64
}

// usageOf reads proc(5).
func usageOf(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	// The second field is a name in parentheses, which may have spaces in it.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 22 {
		return usage{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var user, system, pages int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12]+" "+fields[21], &user, &system, &pages); err != nil {
		return usage{}, err
	}
	const ticks = 100 // a second (sysconf(3), _SC_CLK_TCK)
	return usage{
		cpu:      time.Duration(user+system) * time.Second / ticks,
		resident: float64(pages) * float64(os.Getpagesize()) / (1 << 20),
	}, nil
}
