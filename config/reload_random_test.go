// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// edit is one random change of the file.
type edit struct {
	content string
	// refusal is a part of why it is refused; empty for a good one.
	refusal string
}

// randomEdit makes the number-th edit, of which no two have the same content.
func randomEdit(random *rand.Rand, number int) edit {
	good := fmt.Sprintf("# %d\n%s", number, lasting(fmt.Sprintf("%ds", 3600+random.IntN(5))))
	field := fmt.Sprintf("typo%04d", number)
	switch random.IntN(6) {
	case 0:
		return edit{good + field + ": 1\n", field}
	case 1:
		return edit{good + field + "\n\t", "config.yaml:"}
	case 2:
		tmpfs := fmt.Sprintf("/run/%04d", number)
		return edit{good + "volume: {tmpfsPath: " + tmpfs + "}\n", tmpfs}
	default:
		return edit{content: good}
	}
}

// tear writes the file in two parts, with a pause between them in which the
// first may be read. It returns that.
func tear(t *testing.T, random *rand.Rand, path, content string) (part string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|os.O_CREATE, 0o600)
	check(t, err)
	defer file.Close()
	cut := random.IntN(len(content))
	_, err = file.WriteString(content[:cut])
	check(t, err)
	<-time.After(time.Duration(random.IntN(4)) * time.Millisecond)
	_, err = file.WriteString(content[cut:])
	check(t, err)
	return content[:cut]
}

// settles waits for the outcome that the edit must have. Others come before it
// when what was written is read by halves.
func (f *follower) settles(e edit) {
	f.t.Helper()
	for {
		outcome := f.next()
		switch {
		case e.refusal == "" && outcome.Err == nil && outcome.Config.Hash() == parse(f.t, e.content).Hash():
			return
		case e.refusal != "" && outcome.Err != nil && strings.Contains(outcome.Err.Error(), e.refusal):
			return
		}
	}
}

// TestReloaderAfterAThousandEdits, good and bad, whole and torn: what is
// running is always the last good file, and nothing is left behind. Not
// parallel, so that it can count.
func TestReloaderAfterAThousandEdits(t *testing.T) {
	const edits = 1000
	random := rand.New(rand.NewPCG(1, 2))
	path := filepath.Join(t.TempDir(), "config.yaml")
	check(t, rewrite(path, minimal))
	idle := usage(t)
	f := follow(t, path, func(r *config.Reloader) { r.Settle = 2 * time.Millisecond })
	f.reload() // Run has begun.
	working := usage(t)
	whole := []func(path, content string) error{rewrite, renameOver, recreate}
	good := parse(t, minimal)
	for number := range edits {
		e, part := randomEdit(random, number), ""
		if way := random.IntN(len(whole) + 2); way < len(whole) {
			check(t, whole[way](path, e.content))
		} else {
			part = tear(t, random, path, e.content)
		}
		f.settles(e)
		running := f.holder.Current()
		// The first part, if it was read and is good, was a file, too.
		if c, err := config.Parse(path, []byte(part)); err == nil && c.Hash() == running.Hash() {
			good = c
		}
		if e.refusal == "" {
			good = parse(t, e.content)
		}
		if yamlOf(t, running) != yamlOf(t, good) {
			t.Fatalf("edit %d: running is\n%s\nwant\n%s", number, yamlOf(t, running), yamlOf(t, good))
		}
	}
	settlesTo(t, "at work", working)
	f.stop()
	settlesTo(t, "at the end", idle)
}

// counts are of goroutines and of open files.
type counts struct{ goroutines, files int }

func usage(t *testing.T) counts {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return counts{runtime.NumGoroutine(), len(files)}
}

// settlesTo fails the test if there are more after a while.
func settlesTo(t *testing.T, when string, want counts) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for got := usage(t); got.goroutines > want.goroutines || got.files > want.files; got = usage(t) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %+v, before: %+v", when, got, want)
		}
		runtime.Gosched()
	}
}
