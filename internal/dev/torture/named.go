// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package torture

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

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
