// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// stageMetric is the driver's histogram that says where the time of an issuance
// goes.
const stageMetric = "csi_driver_spiffe_issuance_stage_duration_seconds"

// stageNames are the stages in the order in which they come.
func stageNames() []string {
	return []string{"queue", "prepare", "clear", "create", "approve", "sign", "verify", "collect", "write", "mount"}
}

// stageTimes are the sums of the driver's times by stage, in seconds, and the
// number of publishes. Empty if the driver does not tell.
type stageTimes struct {
	seconds map[string]float64
	// count is the greatest number of observations of any stage.
	count float64
}

// since returns what came to be after an earlier look.
func (s stageTimes) since(before stageTimes) stageTimes {
	d := stageTimes{seconds: map[string]float64{}, count: s.count - before.count}
	for name, sum := range s.seconds {
		d.seconds[name] = sum - before.seconds[name]
	}
	return d
}

// readStages asks the driver for the times of its publishes.
func (b *bench) readStages(ctx context.Context) (stageTimes, error) {
	families, err := testkit.Scrape(ctx, b.settings.http)
	if err != nil {
		return stageTimes{}, err
	}
	return publishStages(families[stageMetric]), nil
}

func publishStages(family *dto.MetricFamily) stageTimes {
	times := stageTimes{seconds: map[string]float64{}}
	for _, metric := range family.GetMetric() {
		labels := map[string]string{}
		for _, label := range metric.GetLabel() {
			labels[label.GetName()] = label.GetValue()
		}
		if labels["operation"] == "publish" {
			times.seconds[labels["stage"]] += metric.GetHistogram().GetSampleSum()
			times.count = max(times.count, float64(metric.GetHistogram().GetSampleCount()))
		}
	}
	return times
}

// driverBar is where the time of publishes goes, of which each took so many
// seconds as the kubelet sees it, and why that is not known if it is not.
func driverBar(times stageTimes, took []float64) (bar result.StageBar, note string) {
	bar.Name = "driver"
	whole := mean(took)
	if times.count == 0 {
		bar.Stages = []result.Stage{{Name: "not told apart", Seconds: result.Seconds(whole)}}
		return bar, "The driver exposed no " + stageMetric + ", so its stages cannot be told apart."
	}
	for _, name := range ordered(times.seconds) {
		if seconds := times.seconds[name] / times.count; seconds > 0 {
			bar.Stages = append(bar.Stages, result.Stage{Name: name, Seconds: result.Seconds(seconds)})
		}
	}
	// The kubelet's call, and what the driver counts to no stage.
	if rest := whole - float64(bar.Total()); rest > 0 {
		bar.Stages = append(bar.Stages, result.Stage{Name: "other", Seconds: result.Seconds(rest)})
	}
	return bar, ""
}

// ordered returns the names of stages in the order in which they come, those that
// are not known here at the end.
func ordered(stages map[string]float64) []string {
	var names []string
	for _, name := range stageNames() {
		if _, there := stages[name]; there {
			names = append(names, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(stages)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// floorStages adds up where the time of the floor goes.
type floorStages struct {
	prepare, create, approve, sign time.Duration
	count                          int
}

// add counts a request that was begun at a moment. The watch may show the approval
// before the answer to the creation has come.
func (s *floorStages) add(began time.Time, t *ticket) {
	created := t.created
	if t.approved.Before(created) {
		created = t.approved
	}
	s.prepare += t.prepared.Sub(began)
	s.create += created.Sub(t.prepared)
	s.approve += t.approved.Sub(created)
	s.sign += t.signed.Sub(t.approved)
	s.count++
}

func (s *floorStages) bar() result.StageBar {
	each := func(d time.Duration) result.Seconds { return result.Seconds(d.Seconds() / float64(max(s.count, 1))) }
	return result.StageBar{Name: "floor", Stages: []result.Stage{
		{Name: "prepare", Seconds: each(s.prepare)}, {Name: "create", Seconds: each(s.create)}, {Name: "approve", Seconds: each(s.approve)}, {Name: "sign", Seconds: each(s.sign)},
	}}
}

func mean(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
