// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command report draws what a run of the benchmark has found, and compares it with
// an earlier run by the statistics of benchstat.
//
//	bench-report [-baseline results.json] FOLDER
//
// FOLDER holds the results.json of a run. A picture of each scenario goes into it,
// SCENARIO.svg, and stages.svg, where time goes; with a baseline, comparison.txt
// too, which is also printed.
//
// It is a module of its own, so that neither its plotting library nor its
// statistics are dependencies of the daemons. internal/dev/bench measures and needs
// nothing of this.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "bench-report: %v\n", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("give the folder of one run")

func run(args []string, out, usage io.Writer) error {
	flags := flag.NewFlagSet("bench-report", flag.ContinueOnError)
	flags.SetOutput(usage)
	baseline := flags.String("baseline", "", "results.json of an earlier run, or its `FOLDER`, to compare with")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errUsage
	}
	folder := flags.Arg(0)
	measured, err := result.Load(folder)
	if err != nil {
		return err
	}
	if err := drawAll(measured, folder); err != nil {
		return err
	}
	fmt.Fprintln(out, "results and pictures:", folder)
	if *baseline == "" {
		return nil
	}
	before, err := result.Load(*baseline)
	if err != nil {
		return err
	}
	text := compare(before, measured).text()
	fmt.Fprint(out, "\n"+text)
	return os.WriteFile(filepath.Join(folder, "comparison.txt"), []byte(text), 0o644)
}
