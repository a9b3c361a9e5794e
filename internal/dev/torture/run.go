// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package torture

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// Options say how much is to be done. All fields but Points are required.
type Options struct {
	Cluster *testkit.Cluster
	// Repository is the root of the repository, and Bin the folder with the
	// binaries of driver, approver and killable.
	Repository, Bin string
	// Dir is an empty folder for everything that is made.
	Dir string
	// Kills is how often the driver is killed at a random moment, and Rounds how
	// often at each named point.
	Kills, Rounds int
	// Points are the named points; none: all that there are.
	Points []string
	// Volumes is how many volumes there are at a time.
	Volumes int
	// Lifetime is that of SVIDs, which are renewed after 60 to 67 percent of
	// it.
	Lifetime time.Duration
	// Pause is the longest time between a start and the next random kill.
	Pause time.Duration
	// StartVolumes is with how many volumes the start is timed; 0: it is not.
	StartVolumes int
	// Seed makes the random moments.
	Seed uint64
	// Log is where progress is told.
	Log io.Writer
}

// Report is what has been done and found.
type Report struct {
	// RandomKills and NamedKills count the kills, and Points the named points.
	RandomKills, NamedKills, Points int
	// Missed are the named points at which the driver was not killed.
	Missed []string
	// Published, Unpublished and Renewed count what the kubelet got done, and
	// the SVIDs that came after a volume's first.
	Published, Unpublished, Renewed int
	// Reads is how often a pair was read.
	Reads int
	// Start is how long the driver took from its start to its first answer, with
	// StartVolumes volumes.
	Start time.Duration
	// Took is the time for all of it.
	Took time.Duration
	// Faults are what must not happen, and did.
	Faults []string
}

// String is a summary in a few lines.
func (r Report) String() string {
	text := fmt.Sprintf("%d kills at random moments and %d at %d named points, in %s\n", r.RandomKills, r.NamedKills, r.Points, r.Took.Round(time.Second))
	text += fmt.Sprintf("%d publishes, %d renewals, %d unpublishes; pairs read %d times\n", r.Published, r.Renewed, r.Unpublished, r.Reads)
	if r.Start > 0 {
		text += fmt.Sprintf("start to first answer: %s\n", r.Start.Round(time.Millisecond))
	}
	if len(r.Missed) > 0 {
		text += "not killed at: " + strings.Join(r.Missed, ", ") + "\n"
	}
	return text + fmt.Sprintf("faults: %d\n", len(r.Faults))
}

// Run tortures a driver. The error is for what kept it from doing so; what was
// found is in the report.
func Run(ctx context.Context, options Options) (Report, error) {
	began := time.Now()
	t := &torture{Options: options, random: rand.New(rand.NewPCG(options.Seed, 0))} //nolint:gosec // Moments are no secrets.
	err := t.run(ctx)
	t.report.Took = time.Since(began)
	return t.report, err
}

func (t *torture) run(ctx context.Context) (err error) {
	if err := t.install(ctx); err != nil {
		return err
	}
	defer func() {
		if cleanUp := t.cleanUp(); err == nil {
			err = cleanUp
		}
	}()
	if err := t.start(ctx, driverProgram); err != nil {
		return err
	}
	stop := t.startLoad(ctx)
	err = t.killAtNamedPoints(ctx)
	if err == nil {
		err = t.killAtRandom(ctx)
	}
	stop()
	if err != nil {
		return err
	}
	if err := t.endAll(ctx); err != nil {
		return err
	}
	if t.StartVolumes > 0 {
		return t.timeStart(ctx)
	}
	return nil
}

// killAtRandom kills the shipped driver at random moments: in half of the cases
// while it is starting.
func (t *torture) killAtRandom(ctx context.Context) error {
	for t.report.RandomKills < t.Kills && ctx.Err() == nil {
		if err := t.checkAfterStart(ctx); err != nil {
			return err
		}
		t.sleep(ctx, time.Duration(t.random.Int64N(int64(t.Pause))))
		if err := t.kill(); err != nil {
			return err
		}
		t.report.RandomKills++
		for range t.random.IntN(2) { // once more, while it starts
			if err := t.launch(driverProgram); err != nil {
				return err
			}
			t.sleep(ctx, time.Duration(t.random.Int64N(int64(150*time.Millisecond))))
			if err := t.kill(); err != nil {
				return err
			}
			t.report.RandomKills++
		}
		if err := t.start(ctx, driverProgram); err != nil {
			return err
		}
		if t.report.RandomKills%50 < 2 {
			t.tell("%d random kills, %d faults", t.report.RandomKills, t.faultCount())
		}
	}
	return context.Cause(ctx)
}

func (*torture) sleep(ctx context.Context, wait time.Duration) {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}

func (t *torture) tell(format string, args ...any) {
	fmt.Fprintf(t.Log, "torture: "+format+"\n", args...)
}

// fault notes what must not happen.
func (t *torture) fault(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Faults = append(t.report.Faults, text)
	if len(t.report.Faults) < 20 {
		t.tell("FAULT %s %s", time.Now().Format(time.TimeOnly), text)
	}
}

func (t *torture) faultCount() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.report.Faults)
}

func (t *torture) count(counter *int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*counter++
}

// killAtNamedPoints kills the driver after each step that it makes.
func (t *torture) killAtNamedPoints(ctx context.Context) error {
	if t.Rounds == 0 {
		return nil
	}
	points := t.Points
	if len(points) == 0 {
		var err error
		if points, err = t.learnSteps(ctx); err != nil {
			return err
		}
	}
	t.report.Points = len(points)
	t.tell("%d named points: %s", len(points), strings.Join(points, ", "))
	for round := range t.Rounds {
		for _, point := range points {
			killed, err := t.killAt(ctx, point, 1+round)
			if err != nil {
				return err
			}
			if killed {
				t.report.NamedKills++
			} else if !slices.Contains(t.report.Missed, point) {
				t.report.Missed = append(t.report.Missed, point)
			}
		}
		t.tell("%d kills at named points, %d faults", t.report.NamedKills, t.faultCount())
	}
	return nil
}

// learnSteps runs the driver until it has renewed, and returns the names of the
// steps that it made.
func (t *torture) learnSteps(ctx context.Context) ([]string, error) {
	notes := filepath.Join(t.Dir, "steps")
	if err := t.kill(); err != nil {
		return nil, err
	}
	if err := t.start(ctx, killableProgram, "TORTURE_STEPS="+notes); err != nil {
		return nil, err
	}
	t.sleep(ctx, t.Lifetime)
	if err := t.kill(); err != nil {
		return nil, err
	}
	if err := t.start(ctx, driverProgram); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(notes)
	if err != nil {
		return nil, err
	}
	steps := strings.Split(strings.TrimSpace(string(data)), "\n")
	slices.Sort(steps)
	return slices.Compact(steps), nil
}

// killAt has the driver kill itself after a step, and starts the next. It reports
// whether the step came about.
func (t *torture) killAt(ctx context.Context, point string, nth int) (bool, error) {
	if err := t.checkAfterStart(ctx); err != nil {
		return false, err
	}
	// A driver that never lives for a second cannot renew anything.
	t.sleep(ctx, time.Second)
	if err := t.kill(); err != nil {
		return false, err
	}
	if err := t.launch(killableProgram, "TORTURE_KILL_AT="+point, fmt.Sprintf("TORTURE_KILL_NTH=%d", nth)); err != nil {
		return false, err
	}
	// Volumes are published by the running load as soon as it answers; a step of
	// the start may come before that.
	connecting, cancel := context.WithCancel(ctx)
	connected := make(chan struct{})
	go func() { defer close(connected); _ = t.connect(connecting) }()
	killed := t.driver.WaitForEnd(t.Lifetime) // in which every volume is renewed
	cancel()
	<-connected
	if !killed {
		if err := t.kill(); err != nil {
			return false, err
		}
	}
	return killed, t.start(ctx, driverProgram)
}

func (t *torture) restartApprover() error {
	if err := t.approver.Stop(); err != nil {
		return err
	}
	var err error
	t.approver, err = testkit.StartProgram(t.Bin, t.Dir, "csi-driver-spiffe-approver", t.installation.Approver,
		"--identity", "torture", "--namespace", testkit.InstallNamespace)
	return err
}
