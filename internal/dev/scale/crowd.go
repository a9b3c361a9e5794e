// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// simulateCrowd starts all nodes within minutes and watches for some cycles: what a
// volume costs the API server, etcd, the approver and its driver, and how its
// renewals part from those of the others.
func simulateCrowd(ctx context.Context, cluster *testkit.Cluster, s sizes, r *report) (err error) {
	m, err := newSimulation(ctx, cluster, s, settings{duration: s.duration, historyLimit: 1, watchScope: s.watch})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	heap := heapInUse()
	start, err := m.look(ctx)
	if err != nil {
		return err
	}
	progress("crowd: %d nodes with %d volumes each, started within %s", s.nodes, s.volumesPerNode, s.within)
	if err := m.publish(ctx, s.nodes, s.volumesPerNode, s.within); err != nil {
		return err
	}
	there, err := m.look(ctx)
	if err != nil {
		return err
	}
	m.reportStart(r, start, there, heap)
	if err := m.watch(ctx, time.Duration(s.cycles*float64(m.cycle()))); err != nil {
		return err
	}
	end, err := m.look(ctx)
	if err != nil {
		return err
	}
	m.reportSteady(r, there, end)
	m.reportCycles(r, there.server.at)
	return nil
}

// snapshot is all that is measured, at one moment.
type snapshot struct {
	server, approver metrics
	approverUsage    testkit.Usage
	events, bytes    float64
	renewals         int
}

func (m *simulation) look(ctx context.Context) (s snapshot, err error) {
	if s.server, err = apiServerMetrics(ctx, m.cluster.Kubernetes); err != nil {
		return s, err
	}
	for ; ; err = testkit.Sleep(ctx, 100*time.Millisecond) { // it may have just been started
		if err != nil {
			return s, err
		}
		if s.approver, err = metricsOf(ctx, m.approverAddress); err == nil {
			break
		}
	}
	s.approverUsage, err = testkit.ReadUsage(m.approver.pid())
	s.events, s.bytes = float64(m.meter.events.Load()), float64(m.meter.bytes.Load())
	s.renewals = m.events.count(renewed)
	return s, err
}

// watch lets time go by, and says how far it is.
func (m *simulation) watch(ctx context.Context, period time.Duration) error {
	progress("watching renewals for %s", period.Round(time.Second))
	for end := time.Now().Add(period); time.Now().Before(end); {
		if err := testkit.Sleep(ctx, min(15*time.Second, time.Until(end))); err != nil {
			return err
		}
		progress("%d renewed, %d failures, %d SVIDs expired, %s left",
			m.events.count(renewed), m.events.count(failed), m.expired(), time.Until(end).Round(time.Second))
	}
	return nil
}

func heapInUse() float64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc + stats.StackInuse)
}

// decided is how many requests the approver has decided.
func decided(m metrics) float64 { return m.sum("csi_driver_spiffe_approver_decisions_total") }

func (m *simulation) reportStart(r *report, before, after snapshot, heap float64) {
	volumes, nodes := float64(m.volumes()), float64(len(m.nodes))
	took := after.server.at.Sub(before.server.at).Seconds()
	done := m.events.durations(published, 0)
	r.add("nodes", nodes, "")
	r.add("volumes", volumes, "")
	r.add("certificate.duration", m.duration.Seconds(), "s")
	r.add("start: all published within", took, "s")
	r.add("start: issuances", float64(m.events.count(published)+m.events.count(renewed))/took, "1/s")
	r.add("start: publish p50", quantile(done, 50), "ms")
	r.add("start: publish p99", quantile(done, 99), "ms")
	r.add("start: growth of etcd per volume, pods included", (after.server.databaseBytes()-before.server.databaseBytes())/volumes/1024, "KiB")
	r.add("one CertificateRequest in etcd", sizeOfRequest(after.server), "KiB")
	r.add("memory of all drivers and the simulation per volume", (heapInUse()-heap)/volumes/1024, "KiB")
	r.add("approver: resident", float64(after.approverUsage.Resident)/(1<<20), "MiB")
	r.add("approver: decisions", decided(after.approver)/took, "1/s")
	r.add("approver: CPU per decision", (after.approverUsage.CPU-before.approverUsage.CPU).Seconds()*1000/decided(after.approver), "ms")
}

// sizeOfRequest is that of a CertificateRequest, in KiB, as the API server estimates it.
func sizeOfRequest(server metrics) float64 {
	return server.sum("apiserver_resource_size_estimate_bytes", "resource", resource) /
		server.sum("apiserver_resource_objects", "resource", resource) / 1024
}

func (m *simulation) reportSteady(r *report, before, after snapshot) {
	volumes, nodes := float64(m.volumes()), float64(len(m.nodes))
	seconds := after.server.at.Sub(before.server.at).Seconds()
	renewals := float64(after.renewals - before.renewals)
	r.add("renewals: watched for", seconds, "s")
	r.add("renewals", renewals, "")
	r.add("renewals failed", float64(m.events.count(failed)), "")
	r.add("renewals: rate", renewals/seconds, "1/s")
	r.add("renewals: p99", quantile(m.events.durations(renewed, before.renewals), 99), "ms")
	all := 0.0
	for _, verb := range []string{"POST", "PUT", "DELETE", "GET", "LIST", "WATCH"} {
		requests := after.server.requests(verb) - before.server.requests(verb)
		all += requests
		r.add("API server: "+verb+" per renewal", requests/renewals, "")
	}
	r.add("API server: requests for CertificateRequests per renewal", all/renewals, "")
	r.add("API server: the same for 1,000 volumes", all/seconds/volumes*1000, "1/s")
	r.add("API server: the same for 1,000 volumes, were the duration an hour", all/renewals*1000/(time.Hour.Seconds()*m.cycle().Seconds()/m.duration.Seconds()), "1/s")
	for _, verb := range []string{"GET", "LIST", "WATCH", "DELETE"} {
		r.add("counted at the drivers, since their start: "+verb, m.meter.byVerb(verb), "")
	}
	sent := after.events - before.events
	total := after.server.watchEvents() - before.server.watchEvents()
	r.add("watch events to drivers per renewal", sent/renewals, "")
	r.add("watch events to each node", sent/seconds/nodes, "1/s")
	r.add("watch bytes to drivers per renewal", (after.bytes-before.bytes)/renewals/1024, "KiB")
	r.add("watch events to all others (approver, cert-manager) per renewal", (total-sent)/renewals, "")
	r.add("CertificateRequests per volume", after.server.sum("apiserver_storage_objects", "resource", ofResource)/volumes, "")
	r.add("approver: restarts", float64(m.approver.restarted()), "")
	r.add("API server: requests turned away (429) since the start", after.server.sum("apiserver_request_total", "resource", resource, "code", "429"), "")
	r.add("approver: resident at the end", float64(after.approverUsage.Resident)/(1<<20), "MiB")
	r.add("approver: CPU", (after.approverUsage.CPU-before.approverUsage.CPU).Seconds()/seconds*100, "% of a core")
	r.add("kube-apiserver: CPU per renewal", (after.server.sum("process_cpu_seconds_total")-before.server.sum("process_cpu_seconds_total"))*1000/renewals, "ms")
	r.add("kube-apiserver: resident", after.server.sum("process_resident_memory_bytes")/(1<<20), "MiB")
}

// reportCycles says how even renewals came in each cycle since all were published.
func (m *simulation) reportCycles(r *report, since time.Time) {
	const parts = 12
	slice := m.cycle() / parts
	counts := m.events.slices(renewed, since, slice)
	r.addSeries("renewals", slice, counts)
	mean := float64(m.volumes()) / parts
	for cycle := 0; (cycle+1)*parts <= len(counts); cycle++ {
		least, most := counts[cycle*parts], 0
		for _, n := range counts[cycle*parts : (cycle+1)*parts] {
			least, most = min(least, n), max(most, n)
		}
		name := "cycle " + short(float64(cycle+1)) + ": renewals in a twelfth of it, of the mean, "
		r.add(name+"at least", float64(least)/mean, "")
		r.add(name+"at most", float64(most)/mean, "")
	}
}
