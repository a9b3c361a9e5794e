// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// measureSizes looks at what the Makefile has built, each in the same way.
func measureSizes(_ context.Context, b *bench, into *result.Scenario) error {
	for _, kind := range []struct{ group, folder, end string }{
		{"program", "bin", ""},
		{"image", b.images, ".tar"},
	} {
		bare, err := size(filepath.Join(kind.folder, "bench-bare"+kind.end))
		if err != nil {
			return err
		}
		for _, name := range []string{"csi-driver-spiffe", "csi-driver-spiffe-approver"} {
			own, err := size(filepath.Join(kind.folder, name+kind.end))
			if err != nil {
				return err
			}
			into.Measurements = append(into.Measurements, result.Measurement{
				Group: kind.group, Name: name, Unit: result.Byte, Shape: result.Bar, Exact: true, Product: []float64{own}, Floor: []float64{bare},
			})
		}
	}
	return nil
}

// size is that of a file, in bytes.
func size(path string) (float64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("%w (`make bench` builds it)", err)
	}
	return float64(info.Size()), nil
}

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

// measureStartup starts the driver anew where an earlier process has left many
// volumes, in turns with a process that reads the same files and knows nothing of
// what is in them.
func measureStartup(ctx context.Context, b *bench, into *result.Scenario) error {
	volumes := b.sizes.volumes[len(b.sizes.volumes)-1]
	if err := b.have(ctx, volumes); err != nil {
		return err
	}
	measurement := func(name string) result.Measurement {
		return result.Measurement{Group: fmt.Sprintf("start with %d volumes", volumes), Name: name, Unit: result.Second, Shape: result.Bar}
	}
	answer, known := measurement("first answer"), measurement("all known")
	for round := range b.sizes.rounds {
		progress("start with %d volumes, round %d of %d", volumes, round+1, b.sizes.rounds)
		took, err := b.startOfBare(ctx)
		if err != nil {
			return err
		}
		answer.Floor, known.Floor = append(answer.Floor, took), append(known.Floor, took)
		if err := b.stopDriver(); err != nil {
			return err
		}
		began := time.Now()
		if err := b.startDriver(); err != nil {
			return err
		}
		if err := firstAnswer(ctx, b.path("csi.sock")); err != nil {
			return err
		}
		answer.Product = append(answer.Product, time.Since(began).Seconds())
		if err := b.waitForVolumes(ctx, volumes); err != nil {
			return err
		}
		known.Product = append(known.Product, time.Since(began).Seconds())
		if err := b.waitForDriver(ctx); err != nil {
			return err
		}
	}
	into.Measurements = []result.Measurement{answer, known}
	return b.publishAll(ctx, b.live)
}

// startOfBare is the time until the bare process answers, in seconds.
func (b *bench) startOfBare(ctx context.Context) (took float64, err error) {
	socket := b.path("bare.sock")
	began := time.Now()
	bare, err := b.startBare(b.access.Driver, "-csi-socket", socket, "-read", b.path("tmpfs"))
	if err != nil {
		return 0, err
	}
	err = firstAnswer(ctx, socket)
	took = time.Since(began).Seconds()
	return took, errors.Join(err, bare.Stop())
}

// waitForVolumes returns when the driver counts so many live volumes.
func (b *bench) waitForVolumes(ctx context.Context, volumes int) error {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	for {
		families, err := testkit.Scrape(ctx, b.settings.http)
		if gauge := families["csi_driver_spiffe_volumes"].GetMetric(); err == nil && len(gauge) == 1 && int(gauge[0].GetGauge().GetValue()) == volumes {
			return nil
		}
		if testkit.Sleep(ctx, 2*time.Millisecond) != nil {
			return errors.Join(fmt.Errorf("the driver does not know its %d volumes", volumes), err)
		}
	}
}
