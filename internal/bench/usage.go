// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
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
	// resident is in bytes.
	resident int64
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
	u.resident <<= 10
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

// work is what the daemons compute for publishes.
type work struct {
	bench  *bench
	before []usage
}

func (b *bench) startWork() (*work, error) {
	w := &work{bench: b}
	for _, program := range b.programs {
		u, err := readUsage(program.PID())
		if err != nil {
			return nil, err
		}
		w.before = append(w.before, u)
	}
	return w, nil
}

// print says how much CPU time each daemon has used for each of so many
// publishes.
func (w *work) print(out io.Writer, publishes int) error {
	for i, program := range w.bench.programs {
		u, err := readUsage(program.PID())
		if err != nil {
			return err
		}
		each := (u.cpu - w.before[i].cpu) / time.Duration(publishes)
		_, _ = fmt.Fprintf(out, "%s: %.1f ms CPU for each of %d publishes at once\n", program.Name, float64(each)/float64(time.Millisecond), publishes)
	}
	return nil
}
