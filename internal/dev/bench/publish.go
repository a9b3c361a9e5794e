// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// measurePublish begins with a node on which nothing is mounted, and goes back to
// that after each round.
func measurePublish(ctx context.Context, b *bench, into *result.Scenario) error {
	if err := b.have(ctx, 0); err != nil {
		return err
	}
	if err := b.oneByOne(ctx, into); err != nil {
		return err
	}
	work := newWork(b)
	for _, count := range b.sizes.atOnce {
		m := result.Measurement{Name: fmt.Sprintf("%d at once", count), Unit: result.Second, Shape: result.Distribution, Round: count}
		for round := range b.sizes.rounds {
			progress("%d at once, round %d of %d", count, round+1, b.sizes.rounds)
			if err := b.atOnceRound(ctx, count, round, &m, work); err != nil {
				return err
			}
		}
		into.Measurements = append(into.Measurements, m)
	}
	into.Measurements = append(into.Measurements, work.measurements()...)
	return nil
}

// oneByOne takes the two in turns, so that both see the same minute.
func (b *bench) oneByOne(ctx context.Context, into *result.Scenario) error {
	m := result.Measurement{Name: "one by one", Unit: result.Second, Shape: result.Distribution}
	count := b.sizes.publishes + 1
	progress("%d one by one", b.sizes.publishes)
	publishes, floors, err := b.prepare(ctx, count)
	if err != nil {
		return err
	}
	// The first of each opens connections, and is not counted.
	if err := b.oneOfEach(ctx, 0, publishes[0], floors[0], &result.Measurement{}, &floorStages{}); err != nil {
		return err
	}
	before, err := b.readStages(ctx)
	if err != nil {
		return err
	}
	floorStages := &floorStages{}
	for i := 1; i < count; i++ {
		if err := b.oneOfEach(ctx, i, publishes[i], floors[i], &m, floorStages); err != nil {
			return err
		}
	}
	after, err := b.readStages(ctx)
	if err != nil {
		return err
	}
	into.Measurements = append(into.Measurements, m)
	bar, note := driverBar(after.since(before), m.Product)
	if note != "" {
		into.Notes = append(into.Notes, note)
	}
	into.Stages = []result.StageBar{bar, floorStages.bar()}
	return b.have(ctx, 0)
}

func (b *bench) oneOfEach(ctx context.Context, round int, publish volumeRequest, floor draft, m *result.Measurement, stages *floorStages) error {
	return inTurns(round, func() error {
		began := time.Now()
		t, err := b.floor.issue(ctx, floor)
		if err == nil {
			m.Floor = append(m.Floor, time.Since(began).Seconds())
			stages.add(began, t)
		}
		return err
	}, func() error {
		took, err := timed(func() error { return b.publish(ctx, publish) })
		m.Product = append(m.Product, took)
		return err
	})
}

// inTurns calls each, beginning with another one in each round.
func inTurns(round int, each ...func() error) error {
	for i := range each {
		if err := each[(i+round)%len(each)](); err != nil {
			return err
		}
	}
	return nil
}

// atOnceRound begins with the floor in one round and with the product in the
// next. Each time is from the common start, as pods that start together wait
// together.
func (b *bench) atOnceRound(ctx context.Context, count, round int, m *result.Measurement, work *work) error {
	publishes, floors, err := b.prepare(ctx, count)
	if err != nil {
		return err
	}
	err = inTurns(round, func() error {
		times, err := together(count, func(i int) error { _, err := b.floor.issue(ctx, floors[i]); return err })
		m.Floor = append(m.Floor, times...)
		return err
	}, func() error {
		return work.during(count, func() error {
			times, err := together(count, func(i int) error { return b.publish(ctx, publishes[i]) })
			m.Product = append(m.Product, times...)
			return err
		})
	})
	if err != nil {
		return err
	}
	return b.have(ctx, 0)
}

// prepare makes ready whatever is not to be measured. The volumes count as live.
func (b *bench) prepare(ctx context.Context, count int) ([]volumeRequest, []draft, error) {
	requests, err := b.requests(ctx, count)
	if err != nil {
		return nil, nil, err
	}
	b.live = append(b.live, requests...)
	drafts, err := b.drafts(ctx, count)
	return requests, drafts, err
}

// timed returns how long f took, in seconds.
func timed(f func() error) (float64, error) {
	began := time.Now()
	err := f()
	return time.Since(began).Seconds(), err
}

// together runs f count times at once and returns how long each took, in seconds.
func together(count int, f func(i int) error) ([]float64, error) {
	times := make([]float64, count)
	var group errgroup.Group
	began := time.Now()
	for i := range count {
		group.Go(func() error {
			err := f(i)
			times[i] = time.Since(began).Seconds()
			return err
		})
	}
	return times, group.Wait()
}

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

// work is the CPU time that the daemons use for publishes.
type work struct {
	bench            *bench
	driver, approver result.Measurement
}

func newWork(b *bench) *work {
	measurement := func(name, floor string) result.Measurement {
		return result.Measurement{Group: "CPU time of a publish", Name: name, Unit: result.Second, Shape: result.Bar, FloorIs: floor}
	}
	return &work{
		bench:    b,
		driver:   measurement("driver", "making a key and signing a request with it"),
		approver: measurement("approver", "checking the request's signature"),
	}
}

// during adds what each daemon uses for each of so many publishes, and the least
// arithmetic that they need.
func (w *work) during(publishes int, f func() error) error {
	driver, err := testkit.ReadUsage(w.bench.driver.PID())
	if err != nil {
		return err
	}
	approver, err := testkit.ReadUsage(w.bench.approver.PID())
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	driverAfter, err := testkit.ReadUsage(w.bench.driver.PID())
	if err != nil {
		return err
	}
	approverAfter, err := testkit.ReadUsage(w.bench.approver.PID())
	if err != nil {
		return err
	}
	w.driver.Product = append(w.driver.Product, (driverAfter.CPU-driver.CPU).Seconds()/float64(publishes))
	w.approver.Product = append(w.approver.Product, (approverAfter.CPU-approver.CPU).Seconds()/float64(publishes))
	return w.arithmetic()
}

// arithmetic measures the floors.
func (w *work) arithmetic() error {
	const times = 10
	request, err := w.bench.floor.request()
	if err != nil {
		return err
	}
	making, err := threadTime(times, func() error { _, err := w.bench.floor.request(); return err })
	if err != nil {
		return err
	}
	checking, err := threadTime(times, func() error { return checkSignature(request.Spec.Request) })
	if err != nil {
		return err
	}
	w.driver.Floor, w.approver.Floor = append(w.driver.Floor, making), append(w.approver.Floor, checking)
	return nil
}

func (w *work) measurements() []result.Measurement {
	return []result.Measurement{w.driver, w.approver}
}

func checkSignature(requestPEM []byte) error {
	block, _ := pem.Decode(requestPEM)
	if block == nil {
		return errors.New("the floor's request is not PEM")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return request.CheckSignature()
}

// threadTime is the CPU time of one f, in seconds, by the mean of so many.
func threadTime(times int, f func() error) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &before); err != nil {
		return 0, err
	}
	for range times {
		if err := f(); err != nil {
			return 0, err
		}
	}
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &after); err != nil {
		return 0, err
	}
	used := time.Duration(after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano())
	return used.Seconds() / float64(times), nil
}
