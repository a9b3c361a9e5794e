// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package torture

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
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
	// Lifetime is that of documents, which are renewed after 60 to 67 percent of
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
	// the documents that came after a volume's first.
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
