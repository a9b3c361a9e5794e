// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/testkit"
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

// measureWork says as well how much CPU time each daemon has used for each of so
// many publishes.
func (b *bench) measureWork(publishes int, measure func() (row, error)) (row, error) {
	programs := []*testkit.Program{b.driver, b.approver}
	before := make([]usage, len(programs))
	var err error
	for i, program := range programs {
		if before[i], err = readUsage(program.PID()); err != nil {
			return row{}, err
		}
	}
	result, err := measure()
	if err != nil {
		return row{}, err
	}
	for i, program := range programs {
		after, err := readUsage(program.PID())
		if err != nil {
			return row{}, err
		}
		each := (after.cpu - before[i].cpu) / time.Duration(publishes)
		fmt.Printf("%s: %.1f ms CPU for each of %d publishes at once\n", program.Name, float64(each)/float64(time.Millisecond), publishes)
	}
	return result, nil
}
