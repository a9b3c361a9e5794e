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
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	var s sizes
	flag.StringVar(&s.only, "only", "", "what to measure, comma-separated: publish, decisions, idle, backlog, memory, or spread or bundle alone (default all but these two)")
	flag.StringVar(&s.key, "key", "algorithm: ECDSA, size: 521", "certificate.privateKey of the configuration")
	flag.IntVar(&s.oneByOne, "one-by-one", 20, "publish: one after another")
	flag.IntVar(&s.atOnce, "at-once", 110, "publish: at the same time, as on a node that has just started")
	flag.IntVar(&s.decisions, "decisions", 200, "decisions: requests, one after another")
	flag.IntVar(&s.backlog, "backlog", 2000, "backlog: requests that wait when the approver starts")
	flag.IntVar(&s.rounds, "rounds", 2, "backlog: how many times")
	flag.IntVar(&s.foreign, "foreign", 20000, "memory: requests of others")
	flag.IntVar(&s.idleVolumes, "idle-volumes", 250, "idle, bundle: volumes of the driver")
	flag.DurationVar(&s.idle, "idle", time.Minute, "idle: for how long it is left alone")
	flag.IntVar(&s.spread, "spread-volumes", 250, "spread: volumes that are due for renewal in the same minute")
	flag.Parse()
	if err := run(s); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// sizes are how much is measured.
type sizes struct {
	only, key                                             string
	oneByOne, atOnce, decisions, backlog, rounds, foreign int
	idleVolumes, spread                                   int
	idle                                                  time.Duration
}

// wants reports whether something is to be measured.
func (s sizes) wants(what string) bool {
	return s.only == "" || slices.Contains(strings.Split(s.only, ","), what)
}

// progress says what takes long.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

func run(s sizes) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := newBench(ctx, s.key)
	if err != nil {
		return err
	}
	defer func() {
		if cleanUp := b.cleanUp(); err == nil {
			err = cleanUp
		}
	}()
	if s.only == "spread" {
		return b.measureSpread(ctx, os.Stdout, s.spread)
	}
	if s.only == "bundle" {
		return b.measureBundle(ctx, os.Stdout, s.idleVolumes)
	}
	if err := b.latencies(ctx, s); err != nil {
		return err
	}
	if s.wants("idle") {
		if err := b.measureIdle(ctx, os.Stdout, s.idleVolumes, s.idle); err != nil {
			return err
		}
	}
	return b.approverAlone(ctx, s)
}

// latencies measures how long pods, and those who ask themselves, wait.
func (b *bench) latencies(ctx context.Context, s sizes) error {
	var rows []row
	for _, m := range []struct {
		what    string
		measure func() (row, error)
	}{
		{"publish", func() (row, error) { return b.measureOneByOne(ctx, s.oneByOne) }},
		{"publish", func() (row, error) {
			return b.measureWork(s.atOnce, func() (row, error) { return b.measureAtOnce(ctx, s.atOnce) })
		}},
		{"decisions", func() (row, error) { return b.measureDecisions(ctx, s.decisions) }},
	} {
		if !s.wants(m.what) {
			continue
		}
		measured, err := m.measure()
		if err != nil {
			return err
		}
		rows = append(rows, measured)
	}
	if len(rows) > 0 {
		printTable(os.Stdout, rows)
	}
	return nil
}

// approverAlone measures what only approvers do.
func (b *bench) approverAlone(ctx context.Context, s sizes) error {
	if s.wants("backlog") {
		result, err := b.measureBacklog(ctx, s.backlog, s.rounds)
		if err != nil {
			return err
		}
		result.print(os.Stdout)
	}
	if s.wants("memory") {
		result, err := b.measureMemory(ctx, s.foreign)
		if err != nil {
			return err
		}
		result.print(os.Stdout)
	}
	return nil
}
