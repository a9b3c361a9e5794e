// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the product takes, on a real cluster with the real
// daemons, and puts beside it the floor: the least that any implementation could
// take on that cluster in the same minute. For an SVID that is a bare client
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
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

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

// options are what the command line asks for.
type options struct {
	only, key, out, images string
	list, quick            bool
	sizes                  sizes
}

// sizes are how much is measured.
type sizes struct {
	// publishes and decisions are made one by one.
	publishes, decisions int
	// atOnce are numbers of publishes that begin together.
	atOnce list
	// rounds is how often something is done that takes long.
	rounds int
	// volumes are the numbers of volumes with which the driver is left alone, in
	// windows of idle each; it is started anew with the most of them.
	volumes list
	idle    time.Duration
	// settle is how long a daemon is left alone before it is called idle: what has
	// been begun ends, and memory that is not needed is given back.
	settle time.Duration
	// live is how many volumes there are to be renewed, or to get a new bundle.
	live int
	// bundles is how often the trust bundle is changed.
	bundles int
	// window is the time over which renewals are spread.
	window time.Duration
	// backlog is how many requests wait when the approver starts, foreign how many
	// there are of others.
	backlog, foreign int
	// bad is how many bad requests of one namespace wait while another has honest
	// ones.
	bad int
	// large is how many requests of 1.3 MiB there are.
	large int
}

func full() sizes {
	return sizes{
		publishes: 100, atOnce: list{10, 50, 110}, rounds: 5, volumes: list{0, 110, 250, 1000}, idle: 10 * time.Second, settle: 10 * time.Second, live: 250,
		bundles: 10, window: time.Minute, decisions: 200, backlog: 500, foreign: 10000, bad: 5000, large: 500,
	}
}

func quick() sizes {
	return sizes{
		publishes: 20, atOnce: list{10, 30}, rounds: 2, volumes: list{0, 25, 50}, idle: 2 * time.Second, settle: 4 * time.Second, live: 50,
		bundles: 4, window: 12 * time.Second, decisions: 20, backlog: 100, foreign: 500, bad: 300, large: 8,
	}
}

// parse reads the command line. With -quick among the arguments, the sizes that
// are not given are small.
func parse(args []string, usage io.Writer) (options, error) {
	o := options{sizes: full()}
	if slices.Contains(args, "-quick") || slices.Contains(args, "--quick") {
		o.sizes = quick()
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.BoolVar(&o.list, "list", false, "say what can be measured, and end")
	flags.BoolVar(&o.quick, "quick", false, "small sizes: minutes, and rough numbers")
	flags.StringVar(&o.only, "only", "", "`NAMES` of scenarios, comma-separated (default all; see -list)")
	flags.StringVar(&o.key, "key", "algorithm: ECDSA, size: 521", "certificate.privateKey of the configuration")
	flags.StringVar(&o.out, "out", "", "`FOLDER` for results.json and summary.md (default: they are not kept)")
	flags.StringVar(&o.images, "images", "bin/bench-images", "`FOLDER` with the images, NAME.tar, whose sizes are measured")
	s := &o.sizes
	flags.IntVar(&s.publishes, "publishes", s.publishes, "publish: one by one")
	flags.Var(&s.atOnce, "at-once", "publish: numbers that begin together, comma-separated")
	flags.IntVar(&s.rounds, "rounds", s.rounds, "how often whatever takes long is done, at least 1; four make a comparison worth something")
	flags.Var(&s.volumes, "volumes", "idle, startup: numbers of volumes, comma-separated, ascending")
	flags.DurationVar(&s.idle, "idle", s.idle, "idle: one of the windows in which the driver is left alone")
	flags.DurationVar(&s.settle, "settle", s.settle, "idle, memory: how long a daemon is left alone before that")
	flags.IntVar(&s.live, "live", s.live, "renewal, spread, bundle: live volumes")
	flags.IntVar(&s.bundles, "bundles", s.bundles, "bundle: changes of the trust bundle")
	flags.DurationVar(&s.window, "window", s.window, "spread: the time over which renewals are spread")
	flags.IntVar(&s.decisions, "decisions", s.decisions, "decisions, fairness: honest requests, one by one")
	flags.IntVar(&s.backlog, "backlog", s.backlog, "backlog: requests that wait when the approver starts")
	flags.IntVar(&s.bad, "bad", s.bad, "fairness: bad requests of another namespace")
	flags.IntVar(&s.large, "large", s.large, "memory: requests of 1.3 MiB, at least 2; the API server takes a second for each")
	flags.IntVar(&s.foreign, "foreign", s.foreign, "memory: requests of others")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("what is %q? There are only flags: see -help", flags.Arg(0))
	}
	return o, s.check()
}

var errSizes = errors.New("every size is at least 1, but those of -volumes, which ascend from 0")

func (s sizes) check() error {
	smallest := slices.Min([]int{s.publishes, s.rounds, s.live, s.bundles, s.decisions, s.backlog, s.foreign, s.bad, s.large / 2, int(s.idle), int(s.settle), int(s.window)})
	if smallest < 1 || slices.Min(s.atOnce) < 1 || slices.Min(s.volumes) < 0 || !slices.IsSorted(s.volumes) {
		return errSizes
	}
	return nil
}

// list is a flag of several numbers.
type list []int

// String implements flag.Value.
func (l *list) String() string {
	var parts []string
	for _, n := range *l {
		parts = append(parts, strconv.Itoa(n))
	}
	return strings.Join(parts, ",")
}

// Set implements flag.Value.
func (l *list) Set(text string) error {
	*l = nil
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil {
			return fmt.Errorf("%q is no number", part)
		}
		*l = append(*l, n)
	}
	return nil
}
