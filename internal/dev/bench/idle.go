// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// idleWindows is in how many of them, one after another, the driver is watched.
const idleWindows = 5

// measureIdle has more and more volumes, and each time watches the driver do
// nothing, and beside it a process that never does anything.
func measureIdle(ctx context.Context, b *bench, into *result.Scenario) (err error) {
	if err := b.have(ctx, b.sizes.volumes[0]); err != nil {
		return err
	}
	// What a driver has done before can be seen in its memory.
	if err := b.restartDriver(ctx); err != nil {
		return err
	}
	bare, err := b.startBare(b.access.Driver, "-csi-socket", b.path("bare.sock"), "-labels", issuance.LabelNode+"="+b.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.Stop()) }()
	if err := firstAnswer(ctx, b.path("bare.sock")); err != nil {
		return err
	}
	var quantities [3][]result.Measurement
	var resident []float64
	for _, volumes := range b.sizes.volumes {
		if err := b.have(ctx, volumes); err != nil {
			return err
		}
		progress("idle with %d volumes", volumes)
		at, err := b.leaveAlone(ctx, fmt.Sprintf("%d volumes", volumes), b.driver.PID(), bare.PID())
		if err != nil {
			return err
		}
		for i, m := range at {
			quantities[i] = append(quantities[i], m)
		}
		resident = append(resident, result.Median(at[2].Product))
	}
	for _, quantity := range quantities {
		into.Measurements = append(into.Measurements, quantity...)
	}
	if last := len(resident) - 1; last > 0 {
		each := (resident[last] - resident[0]) / float64(b.sizes.volumes[last]-b.sizes.volumes[0])
		into.Notes = append(into.Notes, "Memory grows by "+result.Byte.String(each)+" a volume.",
			"Reads are those of sockets and of events, too, of which there are some in any process that has a watch.")
	}
	return nil
}

// leaveAlone returns CPU time and reads, both for a minute, and resident memory of
// the driver and of the bare process in some windows of time.
func (b *bench) leaveAlone(ctx context.Context, name string, driver, bare int) ([3]result.Measurement, error) {
	all := [3]result.Measurement{
		{Group: "CPU time in a minute", Unit: result.Second, Sparse: true},
		{Group: "reads in a minute", Unit: result.Count, Sparse: true},
		{Group: "resident memory", Unit: result.Byte},
	}
	for i := range all {
		all[i].Name, all[i].Shape = name, result.Bar
	}
	if err := testkit.Sleep(ctx, b.sizes.settle); err != nil {
		return all, err
	}
	for range idleWindows {
		before, err := readUsages(driver, bare)
		if err != nil {
			return all, err
		}
		began := time.Now()
		if err := testkit.Sleep(ctx, b.sizes.idle); err != nil {
			return all, err
		}
		after, err := readUsages(driver, bare)
		if err != nil {
			return all, err
		}
		minutes := time.Since(began).Minutes()
		for i, samples := range [][3]*[]float64{
			{&all[0].Product, &all[1].Product, &all[2].Product}, {&all[0].Floor, &all[1].Floor, &all[2].Floor},
		} {
			*samples[0] = append(*samples[0], (after[i].CPU-before[i].CPU).Seconds()/minutes)
			*samples[1] = append(*samples[1], float64(after[i].Reads-before[i].Reads)/minutes)
			*samples[2] = append(*samples[2], float64(after[i].Resident))
		}
	}
	return all, nil
}

func readUsages(pids ...int) ([]testkit.Usage, error) {
	usages := make([]testkit.Usage, len(pids))
	for i, pid := range pids {
		var err error
		if usages[i], err = testkit.ReadUsage(pid); err != nil {
			return nil, err
		}
	}
	return usages, nil
}
