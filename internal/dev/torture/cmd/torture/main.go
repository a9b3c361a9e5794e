// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command torture kills the driver hundreds of times on a real cluster, and says
// what became of the pods; see package torture. Run it with `make torture`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/torture"
)

func main() {
	options := torture.Options{Repository: ".", Bin: "bin", Log: os.Stdout}
	flag.IntVar(&options.Kills, "kills", 500, "kills at random moments")
	flag.IntVar(&options.Rounds, "rounds", 2, "kills at each named point")
	flag.IntVar(&options.Volumes, "volumes", 24, "volumes at a time")
	flag.DurationVar(&options.Lifetime, "lifetime", 40*time.Second, "lifetime of SVIDs")
	flag.DurationVar(&options.Pause, "pause", 1500*time.Millisecond, "the longest time between a start and the next random kill")
	flag.IntVar(&options.StartVolumes, "start-volumes", 250, "volumes with which a start is timed")
	flag.Uint64Var(&options.Seed, "seed", uint64(time.Now().UnixNano()), "makes the random moments")
	flag.Parse()
	if err := run(options); err != nil {
		fmt.Fprintf(os.Stderr, "torture: %v\n", err)
		os.Exit(1)
	}
}

func run(options torture.Options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if options.Cluster, err = testkit.Connect(os.Getenv("KUBECONFIG")); err != nil {
		return err
	}
	if options.Dir, err = os.MkdirTemp("", "csi-driver-spiffe-torture-"); err != nil {
		return err
	}
	fmt.Printf("torture: seed %d, logs in %s\n", options.Seed, options.Dir)
	report, err := torture.Run(ctx, options)
	fmt.Print(report)
	if err != nil {
		return err
	}
	if len(report.Faults) > 0 {
		return errors.New("the driver did not survive it; its logs are in " + options.Dir)
	}
	if len(report.Missed) > 0 {
		return errors.New("not every named point was come upon; try again, or with a longer -lifetime")
	}
	return os.RemoveAll(options.Dir)
}
