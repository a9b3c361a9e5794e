// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

// A scenario is one thing that is tried.
type scenario struct {
	name string
	// about is what is measured, and floor the least possible: a sentence each.
	about, floor string
	// run measures, product and floor in turns, and adds what it finds to the
	// result, which keeps what there is when it fails.
	run func(context.Context, *bench, *result.Scenario) error
}

// scenarios are in an order in which the volumes of one serve the next.
func scenarios() []scenario {
	return []scenario{
		{"size", "Programs and images, on disk.", "The process of internal/dev/bench/bare: a client of the API with one watch, and a socket.", measureSizes},
		{"publish", "A pod's wait for its volume, from the kubelet's call to the answer.", "A bare client signs a request with a key made beforehand, creates it as a pod that the API server has not seen, approves it and sees it signed, each on a watch event.", measurePublish},
		{"idle", "What the driver takes while nothing is asked of it.", "A process with the same watch and socket that does nothing.", measureIdle},
		{"startup", "The driver's start with volumes of an earlier process.", "A process that reads the same files before it answers.", measureStartup},
		{"renewal", "Renewals of volumes that are all due at once.", "The bare client, as many at a time as the driver has renewals.", measureRenewal},
		{"spread", "Renewals that are spread over a window, and first mounts among them.", "First mounts without renewals; renewals as even as can be.", measureSpread},
		{"bundle", "A changed trust bundle, from the swap of its file to the last live volume, less the delay for which the file is left alone.", "A bare loop that swaps as many folders of three files in a tmpfs.", measureBundle},
		{"decisions", "The approver's decision, from the creation of the request to its event.", "A loop that watches and updates, with the approver's rights, and looks at nothing.", measureDecisions},
		{"backlog", "Decisions a second when requests wait as the approver starts.", "As many workers as the approver has update the same and look at nothing.", measureBacklog},
		{"fairness", "An honest request's wait for its decision, while very many bad requests of another namespace wait.", "The same approver with nothing else to do.", measureFairness},
		{"memory", "The approver's memory, with and without requests for other issuers in the cluster; and the most memory of both daemons with very large requests.", "A process with the same watch that keeps nothing; the same daemon without large requests.", measureMemory},
	}
}

var errUnknown = errors.New("no such scenario")

// choose picks scenarios by their comma-separated names, or all.
func choose(all []scenario, only string) ([]scenario, error) {
	if only == "" {
		return all, nil
	}
	wanted := strings.Split(only, ",")
	var chosen []scenario
	var known []string
	for _, s := range all {
		known = append(known, s.name)
		if slices.Contains(wanted, s.name) {
			chosen = append(chosen, s)
		}
	}
	for _, name := range wanted {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("-only %s: %w; there are %s", name, errUnknown, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}

// measureAll runs one scenario after another, whatever becomes of the ones before.
// What there is after each is printed, and kept in a folder unless that is "".
func measureAll(ctx context.Context, b *bench, chosen []scenario, run *result.Run, folder string) error {
	began := time.Now()
	run.Began = began.UTC()
	for i, s := range chosen {
		progress("%s (%d of %d, %s so far)", s.name, i+1, len(chosen), time.Since(began).Round(time.Second))
		run.Scenarios = append(run.Scenarios, measureOne(ctx, b, s))
		run.Took = result.Seconds(time.Since(began).Seconds())
		fmt.Println(run.Scenarios[i].Text())
		if err := keep(run, folder); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	progress("done after %s", run.Took)
	if failed := run.Failed(); len(failed) > 0 {
		return fmt.Errorf("%w: %s", errScenario, strings.Join(failed, ", "))
	}
	return nil
}

// errScenario means that the others have been measured all the same.
var errScenario = errors.New("scenarios that failed")

func measureOne(ctx context.Context, b *bench, s scenario) result.Scenario {
	into := result.Scenario{Name: s.name, About: s.about, Floor: s.floor}
	began := time.Now()
	if err := s.run(ctx, b, &into); err != nil {
		into.Error = err.Error()
	}
	into.Took = result.Seconds(time.Since(began).Seconds())
	return into
}

func keep(run *result.Run, folder string) error {
	if folder == "" {
		return nil
	}
	if err := run.Save(folder); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "summary.md"), []byte(run.Markdown()), 0o644)
}
