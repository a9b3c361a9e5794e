// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Usage is what a process has used so far (proc(5)).
type Usage struct {
	// CPU is the time for which its threads ran, those that have ended left out.
	CPU time.Duration
	// Reads are calls of read(2) and its like, on whatever is open.
	Reads int64
	// Resident is the memory that it has, and Peak the most that it ever had, in
	// bytes.
	Resident, Peak int64
}

// ReadUsage returns the usage of a process. The error is [os.ErrNotExist] if there
// is none.
func ReadUsage(pid int) (Usage, error) {
	var u Usage
	dir := fmt.Sprintf("/proc/%d", pid)
	// To the nanosecond, where stat counts hundredths of a second.
	tasks, err := filepath.Glob(dir + "/task/*/schedstat")
	if err != nil {
		return Usage{}, err
	}
	for _, task := range tasks {
		var running int64
		data, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		if _, err := fmt.Sscan(string(data), &running); err != nil {
			return Usage{}, err
		}
		u.CPU += time.Duration(running)
	}
	if u.Reads, err = ProcNumber(dir+"/io", "syscr:"); err != nil {
		return Usage{}, err
	}
	if u.Resident, err = ProcNumber(dir+"/status", "VmRSS:"); err != nil {
		return Usage{}, err
	}
	if u.Peak, err = ProcNumber(dir+"/status", "VmHWM:"); err != nil {
		return Usage{}, err
	}
	u.Resident, u.Peak = u.Resident<<10, u.Peak<<10
	return u, nil
}

// ProcNumber reads one number of a file of lines that begin with a name.
func ProcNumber(path, name string) (int64, error) {
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
