// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// usage is what a process has used so far (proc(5)).
type usage struct {
	cpu time.Duration
	// reads are calls of read(2) and its like, on whatever is open.
	reads int64
	// resident is in bytes, and peak the most that it ever was.
	resident, peak int64
}

func readUsage(pid int) (usage, error) {
	var u usage
	dir := fmt.Sprintf("/proc/%d", pid)
	// To the nanosecond, where stat counts hundredths of a second.
	tasks, err := filepath.Glob(dir + "/task/*/schedstat")
	if err != nil {
		return usage{}, err
	}
	for _, task := range tasks {
		var running int64
		data, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		if _, err := fmt.Sscan(string(data), &running); err != nil {
			return usage{}, err
		}
		u.cpu += time.Duration(running)
	}
	if u.reads, err = number(dir+"/io", "syscr:"); err != nil {
		return usage{}, err
	}
	if u.resident, err = number(dir+"/status", "VmRSS:"); err != nil {
		return usage{}, err
	}
	if u.peak, err = number(dir+"/status", "VmHWM:"); err != nil {
		return usage{}, err
	}
	u.resident, u.peak = u.resident<<10, u.peak<<10
	return u, nil
}

// number reads one number of a file of lines that begin with a name.
func number(path, name string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			var value int64
			_, err := fmt.Sscan(rest, &value)
			return value, err
		}
	}
	return 0, fmt.Errorf("%s: no line %s", path, name)
}
