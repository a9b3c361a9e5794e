// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
)

// exposing is a bench whose driver tells these metrics.
func exposing(t *testing.T, collectors ...prometheus.Collector) *bench {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors...)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return &bench{settings: settings{http: strings.TrimPrefix(server.URL, "http://")}}
}

func TestStagesAreThoseOfThePublishesBetweenTwoLooks(t *testing.T) {
	t.Parallel()
	stages := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: stageMetric, Help: "Time by stage."}, []string{"operation", "stage"})
	b := exposing(t, stages)
	observe := func(operation, stage string, seconds float64) {
		stages.WithLabelValues(operation, stage).Observe(seconds)
	}
	observe("publish", "create", 5)
	before, err := b.readStages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		observe("publish", "write", 0.001)
		observe("publish", "create", 0.02)
		observe("publish", "something new", 0.004)
		observe("renewal", "create", 7)
	}
	after, err := b.readStages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bar, note := driverBar(after.since(before), []float64{0.03, 0.05})
	if note != "" {
		t.Errorf("note %q, want none", note)
	}
	want := []result.Stage{{Name: "create", Seconds: 0.02}, {Name: "write", Seconds: 0.001}, {Name: "something new", Seconds: 0.004}, {Name: "other", Seconds: 0.015}}
	if len(bar.Stages) != len(want) {
		t.Fatalf("got %v, want %v", bar.Stages, want)
	}
	for i, stage := range bar.Stages {
		if stage.Name != want[i].Name || math.Abs(float64(stage.Seconds-want[i].Seconds)) > 1e-9 {
			t.Errorf("got %v, want %v", bar.Stages, want)
		}
	}
}

func TestADriverThatTellsNoStagesIsNoted(t *testing.T) {
	t.Parallel()
	b := exposing(t, prometheus.NewGauge(prometheus.GaugeOpts{Name: "csi_driver_spiffe_volumes", Help: "Live volumes."}))
	times, err := b.readStages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bar, note := driverBar(times.since(times), []float64{0.03, 0.05})
	if !strings.Contains(note, stageMetric) || len(bar.Stages) != 1 || bar.Total() != 0.04 {
		t.Errorf("got %+v and note %q", bar, note)
	}
}

func TestFloorStagesAddUp(t *testing.T) {
	t.Parallel()
	began := time.Now()
	after := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	stages := &floorStages{}
	stages.add(began, &ticket{prepared: after(4), created: after(14), approved: after(30), signed: after(60)})
	// The watch was quicker than the answer to the creation.
	stages.add(began, &ticket{prepared: after(2), created: after(25), approved: after(20), signed: after(40)})
	bar := stages.bar()
	for name, want := range map[string]float64{"prepare": 0.003, "create": 0.014, "approve": 0.008, "sign": 0.025} {
		if got := float64(bar.Of(name)); math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: got %v s, want %v s", name, got, want)
		}
	}
	if got := float64(bar.Total()); math.Abs(got-0.05) > 1e-9 {
		t.Errorf("all: got %v s, want the mean of 60 and 40 ms", got)
	}
}

func TestMachineTimeOfAThread(t *testing.T) {
	t.Parallel()
	took, err := threadTime(1, func() error {
		for began := time.Now(); time.Since(began) < 20*time.Millisecond; {
			continue // uses the processor
		}
		return nil
	})
	if err != nil || took <= 0 || took > 1 {
		t.Errorf("got %v s, %v", took, err)
	}
	if _, err := threadTime(1, func() error { return errBroken }); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
}
