// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the product takes, on a real cluster with the real
// daemons, and puts beside it the floor: the least that any implementation could
// take on that cluster in the same minute. For a document that is a bare client
// which signs a CertificateRequest for a pod, creates it as the pod, approves it and
// sees it signed, each on a watch event, with the key made beforehand (see type
// floor); for a daemon, the process of internal/dev/bench/bare. The ratio of the two holds on any machine; the times do not.
//
// Run it with `make bench`. What is measured is the table in scenarios.go; how a
// run is kept is internal/dev/bench/result, and internal/dev/bench/report draws it and
// compares it with an earlier one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// progress says what takes long.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

func run(ctx context.Context, args []string) error {
	o, err := parse(args, os.Stderr)
	if err != nil {
		return err
	}
	if o.list {
		for _, s := range scenarios() {
			fmt.Printf("%-10s %s\n%-10s floor: %s\n", s.name, s.about, "", s.floor)
		}
		return nil
	}
	chosen, err := choose(scenarios(), o.only)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	measured := &result.Run{Quick: o.quick, Machine: b.machine(ctx)}
	return errors.Join(measureAll(ctx, b, chosen, measured, o.out), b.cleanUp())
}
