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
)

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
