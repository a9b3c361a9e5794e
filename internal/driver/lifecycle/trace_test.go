// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
)

// A trace is an order of what happens, one move a line, as the search prints it. Below each
// move, indented, stands what the driver does because of it.

var update = flag.Bool("update", false, "write into testdata/traces what the driver does")

// TestTraces makes the moves of each file in testdata/traces. A trace is of a fault that was
// mended: no promise may be broken on the way, and all must be well in the end.
func TestTraces(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/traces/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := replay(string(data))
			if err != nil {
				t.Fatalf("%v\n%s", err, got)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != string(data) {
				t.Errorf("the driver does something else; run go test with -update and look at the difference:\n%s", got)
			}
		})
	}
}

// plenty is a budget that lets everything happen.
var plenty = budget{
	publishes: 200, unpublishes: 200, giveUps: 200, strangers: 200, retargets: 200, crashes: 200, ticks: 200, moments: 200,
	clocks: 200, configs: 200, stales: 200, apiFaults: 200, diskFaults: 200, damages: 200, more: mostCalls,
}

// replay makes the moves of a trace, and returns it with what the driver does.
func replay(trace string) (text string, err error) {
	var out strings.Builder
	x := step{w: world{up: true, state: lifecycle.State{ID: volumeID}}, log: logTo(&out)}
	for line := range strings.Lines(trace) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, " "): // what the driver did
			continue
		case strings.HasPrefix(line, "#"), line == "":
			fmt.Fprintln(&out, line)
			continue
		}
		fmt.Fprintln(&out, line)
		m, err := parseMove(line)
		if err != nil {
			return out.String(), err
		}
		x.w.left = plenty
		if !x.w.can(m) {
			return out.String(), fmt.Errorf("%q is not possible", line)
		}
		w := x.w
		x.make(&w, m)
		switch {
		case x.broken != nil:
			return out.String(), fmt.Errorf("%q: %s", line, x.broken)
		case m.pick.what != usual && x.counts[m.pick.what] < m.pick.n:
			return out.String(), fmt.Errorf("%q: there was no moment at which %s", line, whatNames[m.pick.what])
		}
	}
	text = out.String()
	if broken := newSearch().lead(&x); broken != nil {
		return out.String(), fmt.Errorf("in the end: %s", broken)
	}
	return text, nil
}

var (
	errNoMove = errors.New("no such move")
	movesBy   = func() map[string]move {
		by := map[string]move{}
		for _, m := range all {
			by[m.String()] = m
		}
		return by
	}()
)

// parseMove is the reverse of move.String.
func parseMove(line string) (move, error) {
	name, special, isSpecial := strings.Cut(line, "; ")
	m, ok := movesBy[name]
	if !ok {
		return move{}, fmt.Errorf("%w: %q", errNoMove, line)
	}
	if !isSpecial {
		return m, nil
	}
	special, times, _ := strings.Cut(special, ", time ")
	m.pick.n = 1
	if n, err := strconv.ParseUint(times, 10, 8); err == nil {
		m.pick.n = uint8(n)
	}
	for i, name := range whatNames {
		if name == special {
			m.pick.what = what(i)
			return m, nil
		}
	}
	return move{}, fmt.Errorf("%w: %q", errNoMove, line)
}

// logTo writes what the driver does, an action a line.
func logTo(out *strings.Builder) func(lifecycle.Action) {
	return func(a lifecycle.Action) {
		if text := actionText(a); text != "" {
			fmt.Fprintln(out, "  "+text)
		}
	}
}

var (
	timerNames = [lifecycle.Timers]string{"retry", "renewal", "slot", "validity", "failed"}
	purposes   = map[lifecycle.Purpose]string{lifecycle.Initial: "publish", lifecycle.Renewal: "renewal"}
)

// actionText says what an action is; nothing of those that only people notice.
func actionText(a lifecycle.Action) string { //nolint:gocyclo // One case for each action.
	switch a := a.(type) {
	case lifecycle.Inspect:
		return fmt.Sprintf("inspect %s for call %d", a.Target, a.Call)
	case lifecycle.Prepare:
		return fmt.Sprintf("prepare a request for %s under %s", a.Order.Pod.UID, a.Order.Policy)
	case lifecycle.Write:
		if a.Call == 0 {
			return "write the renewed SVID"
		}
		return fmt.Sprintf("write the SVID for call %d", a.Call)
	case lifecycle.Rewrite:
		return "write what is beside the SVID"
	case lifecycle.Mount:
		return fmt.Sprintf("mount at %s for call %d", a.Target, a.Call)
	case lifecycle.Undo:
		return fmt.Sprintf("undo call %d at %s", a.Call, a.Target)
	case lifecycle.Remove:
		return fmt.Sprintf("remove the volume for call %d", a.Call)
	case lifecycle.Begin:
		return "begin a " + purposes[a.Purpose]
	case lifecycle.Issue:
		return "ask for the SVID under " + a.Order.Policy
	case lifecycle.Abandon:
		return fmt.Sprintf("abandon the issuance: %v", a.Why)
	case lifecycle.Close:
		if a.Discard {
			return "close and discard request " + a.Open.Request
		}
		return "close request " + a.Open.Request
	case lifecycle.Correct:
		return "correct the metadata"
	case lifecycle.Reply:
		if a.Err != nil {
			return fmt.Sprintf("answer call %d: %v", a.Call, a.Err)
		}
		return fmt.Sprintf("answer call %d: done", a.Call)
	case lifecycle.Arm:
		return "start the timer " + timerNames[a.Timer]
	case lifecycle.Disarm:
		return "stop the timer " + timerNames[a.Timer]
	}
	return ""
}
