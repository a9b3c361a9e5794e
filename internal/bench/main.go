// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures how long pods wait for their documents, on a real
// cluster with the real daemons, and puts beside it the least time that any
// implementation could take on that cluster in the same minute: a bare client
// that creates a CertificateRequest, approves it and sees it signed, each on a
// watch event, with the key made beforehand. The ratio of the two holds on any
// machine; the times do not.
//
// Run it with `make bench`.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	oneByOne := flag.Int("one-by-one", 20, "publishes one after another")
	atOnce := flag.Int("at-once", 110, "publishes at the same time, as on a node that has just started")
	idleVolumes := flag.Int("idle-volumes", 250, "volumes with which the driver is left alone; 0: it is not")
	idle := flag.Duration("idle", time.Minute, "for how long it is left alone")
	spread := flag.Int("spread-volumes", 0, "measure nothing but the renewals of so many volumes that are due together (two minutes)")
	flag.Parse()
	if err := run(*oneByOne, *atOnce, *idleVolumes, *idle, *spread); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(oneByOne, atOnce, idleVolumes int, idle time.Duration, spread int) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	duration := time.Hour
	if spread > 0 {
		duration = spreadLifetime
	}
	b, err := newBench(ctx, duration)
	if err != nil {
		return err
	}
	defer func() {
		if cleanUp := b.cleanUp(); err == nil {
			err = cleanUp
		}
	}()
	if spread > 0 {
		return b.measureSpread(ctx, os.Stdout, spread)
	}
	var rows []row
	single, err := b.measureOneByOne(ctx, oneByOne)
	if err != nil {
		return err
	}
	rows = append(rows, single)
	work, err := b.startWork()
	if err != nil {
		return err
	}
	burst, err := b.measureAtOnce(ctx, atOnce)
	if err != nil {
		return err
	}
	if err := work.print(os.Stdout, atOnce); err != nil {
		return err
	}
	printTable(os.Stdout, append(rows, burst))
	if idleVolumes > 0 {
		return b.measureIdle(ctx, os.Stdout, idleVolumes, idle)
	}
	return nil
}
