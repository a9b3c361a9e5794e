// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command scale simulates a large cluster on one machine: it runs the drivers of
// hundreds of nodes, the code of internal/driver, as goroutines against one real
// API server with the real approver and the real cert-manager. What it prints is
// what README.md computes the sizes of clusters from.
//
// Real are the API server, etcd, the approver's process, cert-manager's controllers
// and webhook, pods, ServiceAccounts, tokens that are bound to pods, the CSI calls
// on each driver's socket, keys, certificates and files. Left out are mounts
// ([volume.WithoutMounts]) and containers; the kubelets are [testkit.Kubelet]; and
// where the issuer is to be slow, it is one of the simulation's own ([signer]).
// Nodes are started one after another within minutes, as when a cluster comes up.
//
// Run it with `make scale`, and with SCALEFLAGS=-help for what can be set.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

func main() {
	s := defaults()
	flag.StringVar(&s.only, "only", "", "what to simulate, comma-separated: crowd, watches, history, slow (default all)")
	flag.IntVar(&s.nodes, "nodes", s.nodes, "crowd: nodes")
	flag.IntVar(&s.volumesPerNode, "volumes-per-node", s.volumesPerNode, "crowd: volumes of each node")
	flag.DurationVar(&s.within, "within", s.within, "crowd: the time within which all nodes start")
	flag.DurationVar(&s.duration, "duration", s.duration, "crowd: certificate.duration")
	flag.Float64Var(&s.cycles, "cycles", s.cycles, "crowd: for how long to watch, in times from one renewal to the next")
	flag.IntVar(&s.historyVolumes, "history-volumes", s.historyVolumes, "history: volumes, on 10 nodes")
	flag.IntVar(&s.slowVolumes, "slow-volumes", s.slowVolumes, "slow: volumes, on 20 nodes")
	flag.DurationVar(&s.slowFor, "slow-for", s.slowFor, "slow: for how long the issuer signs 5 a second")
	flag.IntVar(&s.watches, "watches", s.watches, "watches: how many of each scope")
	flag.IntVar(&s.watchRequests, "watch-requests", s.watchRequests, "watches: requests that change meanwhile")
	flag.StringVar(&s.watch, "watch", s.watch, "certificateRequests.watch: Node or Request")
	flag.BoolVar(&s.flowSchema, "flow-schema", s.flowSchema, "apply manifests/examples/flowschema.yaml")
	flag.StringVar(&s.results, "results", s.results, "folder for the results as JSON; empty: none")
	flag.StringVar(&s.bin, "bin", s.bin, "folder of the approver's program")
	flag.Parse()
	s.kubeconfig, s.repository = os.Getenv("KUBECONFIG"), "."
	if err := run(s); err != nil {
		fmt.Fprintf(os.Stderr, "scale: %v\n", err)
		os.Exit(1)
	}
}

// sizes are how much is simulated.
type sizes struct {
	only                          string
	nodes, volumesPerNode         int
	within, duration              time.Duration
	cycles                        float64
	historyVolumes, slowVolumes   int
	watches, watchRequests        int
	slowFor                       time.Duration
	flowSchema                    bool
	watch                         string
	results, kubeconfig           string
	bin, repository               string
	historyDuration, slowDuration time.Duration
}

// defaults take 20 minutes on two cores.
func defaults() sizes {
	return sizes{
		nodes: 40, volumesPerNode: 50, within: 90 * time.Second, duration: 4 * time.Minute, cycles: 3,
		historyVolumes: 200, historyDuration: time.Minute,
		watches: 4000, watchRequests: 300,
		slowVolumes: 800, slowDuration: 3 * time.Minute, slowFor: 90 * time.Second,
		flowSchema: true, watch: "Node", results: "bin/scale-results", bin: "bin",
	}
}

func (s sizes) wants(what string) bool {
	return s.only == "" || slices.Contains(strings.Split(s.only, ","), what)
}

// progress says what takes long.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05")+" scale: "+format+"\n", args...)
}

func run(s sizes) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cluster, err := testkit.Connect(s.kubeconfig)
	if err != nil {
		return err
	}
	for _, scenario := range []struct {
		name string
		run  func(context.Context, *testkit.Cluster, sizes, *report) error
	}{
		{"crowd", simulateCrowd}, {"watches", simulateWatches}, {"history", simulateHistory}, {"slow", simulateSlow},
	} {
		if !s.wants(scenario.name) {
			continue
		}
		r := newReport(scenario.name)
		if err := scenario.run(ctx, cluster, s, r); err != nil {
			return fmt.Errorf("%s: %w", scenario.name, err)
		}
		if err := r.write(os.Stdout, s.results); err != nil {
			return err
		}
	}
	return nil
}

// report is what one simulation has measured, in order.
type report struct {
	Scenario string    `json:"scenario"`
	Began    time.Time `json:"began"`
	Rows     []row     `json:"rows"`
	// Series are counts by slices of time.
	Series []series `json:"series,omitempty"`
}

// row is one number.
type row struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// series are counts in slices of time.
type series struct {
	Name   string  `json:"name"`
	Slice  float64 `json:"sliceSeconds"`
	Counts []int   `json:"counts"`
}

func newReport(scenario string) *report { return &report{Scenario: scenario, Began: time.Now()} }

// add leaves out what is not known, as the quotient of two numbers that are not
// there yet: the API server estimates sizes once a minute.
func (r *report) add(name string, value float64, unit string) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	r.Rows = append(r.Rows, row{name, value, unit})
}

func (r *report) addSeries(name string, slice time.Duration, counts []int) {
	r.Series = append(r.Series, series{name, slice.Seconds(), counts})
}

// write prints the report as a table, and writes it as JSON into a folder.
func (r *report) write(out io.Writer, folder string) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "\n%s\n", r.Scenario)
	for _, row := range r.Rows {
		_, _ = fmt.Fprintf(table, "  %s\t%s\t%s\n", row.Name, short(row.Value), row.Unit)
	}
	_ = table.Flush()
	for _, s := range r.Series {
		_, _ = fmt.Fprintf(out, "  %s, each %.0f s: %v\n", s.Name, s.Slice, s.Counts)
	}
	if folder == "" {
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, r.Scenario+"-"+r.Began.UTC().Format("20060102T150405")+".json"), append(data, '\n'), 0o600)
}

// short has three digits or all before the point.
func short(value float64) string {
	switch {
	case value == float64(int64(value)), value >= 100 || value <= -100:
		return fmt.Sprintf("%.0f", value)
	case value >= 10:
		return fmt.Sprintf("%.1f", value)
	default:
		return fmt.Sprintf("%.2f", value)
	}
}
