// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/codes"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// The two programs, as they are shipped, tell of what has happened: by their
// metrics, and by a line of the log for each thing.
func TestMetricsAndLogOfThePrograms(t *testing.T) {
	w := prepare(t, func(w *world) string {
		w.writeBundle(w.ca)
		return "trustBundle: {path: " + w.bundleFile() + "}"
	},
		func(*world) string { return "rollout: {gracePeriod: 0s, reissueWindow: 0s}" },
		func(*world) string { return "observability: {logging: {format: json}}" })
	approver, driver := w.startDaemon("csi-driver-spiffe-approver"), w.startDaemon("csi-driver-spiffe")
	w.kubeletOf(driver)

	first, second := w.pod("web-0"), w.pod("web-1")
	w.publish(first)
	w.publish(second)
	w.publish(second) // finds it there
	w.check(w.unbindRole())
	w.mustFail("forbidden", codes.PermissionDenied)
	w.check(w.bindRole())
	// Under a file that the approver does not have, what the driver asks for is denied.
	driver.change("certificate: {duration: 2h}")
	w.mustFail("denied", codes.PermissionDenied)
	driver.change("certificate: {duration: 1h}")
	// Another kind of key makes both volumes be renewed at once.
	approver.change("certificate: {privateKey: {algorithm: ECDSA, size: 256}}")
	driver.change("certificate: {privateKey: {algorithm: ECDSA, size: 256}}")
	w.eventually("both are renewed", func() bool {
		return driver.scrape().value("csi_driver_spiffe_issuances_total", "renewal", "succeeded", "write") == 2
	})
	w.check(w.kubelet.Unpublish(t.Context(), first, testkit.VolumeName))

	of := map[string]scrape{"driver": driver.scrape(), "approver": approver.scrape()}
	w.checkCounts(of)
	w.checkStages(of["driver"])
	for name, s := range of {
		w.checkLabels(name, s)
		problems, err := promlint.New(strings.NewReader(s.text)).Lint()
		w.check(err)
		for _, problem := range problems {
			t.Errorf("%s: %s: %s", name, problem.Metric, problem.Text)
		}
	}
	checkTable(t, of)
	w.checkLines(driver)
	if code, _ := driver.fetch(driver.profiles, "/debug/pprof/cmdline"); code != http.StatusOK {
		t.Errorf("profiles: %d", code)
	}
	for _, d := range []*daemonProcess{driver, approver} {
		if code, _ := d.fetch(d.address, "/debug/pprof/"); code != http.StatusNotFound {
			t.Errorf("%s serves profiles beside metrics: %d", d.name, code)
		}
	}
}

func (w *world) checkCounts(of map[string]scrape) {
	w.t.Helper()
	for _, row := range []struct {
		daemon, metric string
		labels         []string
		want           float64
	}{
		{"driver", "issuances_total", []string{"publish", "succeeded", "mount"}, 2},
		{"driver", "issuances_total", []string{"publish", "refused", "create"}, 1},
		{"driver", "issuances_total", []string{"publish", "denied", "approve"}, 1},
		{"driver", "issuances_total", []string{"renewal", "succeeded", "write"}, 2},
		{"driver", "issuances_total", []string{"renewal", "denied", "approve"}, 0},
		{"driver", "issuances_in_progress", []string{"publish", "approve"}, 0},
		{"driver", "issuance_duration_seconds", []string{"publish"}, 2},
		{"driver", "issuance_duration_seconds", []string{"renewal"}, 2},
		{"driver", "csi_operations_seconds", []string{"OK", "/csi.v1.Node/NodePublishVolume"}, 3},
		{"driver", "csi_operations_seconds", []string{"PermissionDenied", "/csi.v1.Node/NodePublishVolume"}, 2},
		{"driver", "csi_operations_seconds", []string{"OK", "/csi.v1.Node/NodeUnpublishVolume"}, 1},
		{"driver", "volumes", nil, 1},
		{"driver", "volumes_overdue", nil, 0},
		{"driver", "volumes_expired", nil, 0},
		{"driver", "volumes_backing_off", nil, 0},
		{"driver", "renewals_due_within_hour", nil, 1},
		{"driver", "retries_total", []string{"publish"}, 0},
		{"driver", "retries_total", []string{"renewal"}, 0},
		{"approver", "approver_decisions_total", []string{"approved"}, 4},
		{"approver", "approver_decisions_total", []string{"denied"}, 1},
		{"approver", "approver_decision_duration_seconds", nil, 5},
	} {
		if got := of[row.daemon].value("csi_driver_spiffe_"+row.metric, row.labels...); got != row.want {
			w.t.Errorf("%s%q is %g, want %g", row.metric, row.labels, got, row.want)
		}
	}
}

// checkStages asserts that the stages of all documents together took as long as
// the documents.
func (w *world) checkStages(s scrape) {
	w.t.Helper()
	for op, stages := range map[string][]string{
		"publish": {"queue", "prepare", "create", "approve", "verify", "collect", "write", "mount"},
		"renewal": {"queue", "prepare", "create", "approve", "verify", "collect", "write"},
	} {
		whole := s.metric("csi_driver_spiffe_issuance_duration_seconds", op).GetHistogram().GetSampleSum()
		sum := 0.0
		for _, metric := range s.families["csi_driver_spiffe_issuance_stage_duration_seconds"].GetMetric() {
			if values(metric)[0] == op {
				sum += metric.GetHistogram().GetSampleSum()
			}
		}
		if math.Abs(sum-whole) > 1e-6 || whole <= 0 {
			w.t.Errorf("%s: the stages took %g s, the whole %g s", op, sum, whole)
		}
		for _, stage := range stages {
			if n := s.value("csi_driver_spiffe_issuance_stage_duration_seconds", op, stage); n != 2 {
				w.t.Errorf("%s: %g documents went through stage %s", op, n, stage)
			}
		}
	}
}

// checkLabels asserts that nobody's name is in a label: the namespace, node and
// issuer of the test all have the same.
func (w *world) checkLabels(name string, s scrape) {
	w.t.Helper()
	for family, f := range s.families {
		if n := len(f.GetMetric()); n > 60 {
			w.t.Errorf("%s: %s has %d series", name, family, n)
		}
		for _, metric := range f.GetMetric() {
			for _, value := range values(metric) {
				if strings.Contains(value, w.workload.Namespace) || strings.Contains(value, "example-app") || strings.Contains(value, "web-") {
					w.t.Errorf("%s: %s has the label value %q", name, family, value)
				}
			}
		}
	}
}

// checkLines asserts that there is one line for each thing, with the same keys.
func (w *world) checkLines(driver *daemonProcess) {
	w.t.Helper()
	keys := []string{"duration", "level", "msg", "pod", "request", "spiffeID", "time", "volume"}
	for _, row := range []struct {
		msg   string
		count int
		more  []string
		stage []any
	}{
		{"published", 2, []string{"notAfter"}, nil},
		{"renewed", 2, []string{"notAfter"}, nil},
		{"unpublished", 1, []string{"notAfter"}, nil},
		{"publish failed", 2, []string{"error", "stage"}, []any{"create", "approve"}},
	} {
		lines := driver.lines(row.msg)
		if len(lines) != row.count {
			w.t.Errorf("%d lines of %q, want %d: %v", len(lines), row.msg, row.count, lines)
		}
		for i, line := range lines {
			want := slices.Sorted(slices.Values(append(slices.Clone(keys), row.more...)))
			if got := slices.Sorted(maps.Keys(line)); !slices.Equal(got, want) {
				w.t.Errorf("%q has the keys\n%q, want\n%q", row.msg, got, want)
			}
			pod, namespace := fmt.Sprint(line["pod"]), w.workload.Namespace+"/"
			if !strings.HasPrefix(pod, namespace) || !strings.HasPrefix(fmt.Sprint(line["request"]), pod+"-") ||
				line["spiffeID"] != "spiffe://"+trustDomain+"/ns/"+w.workload.Namespace+"/sa/example-app" {
				w.t.Errorf("%q is %v", row.msg, line)
			}
			if i < len(row.stage) && line["stage"] != row.stage[i] {
				w.t.Errorf("%q is of stage %v, want %v", row.msg, line["stage"], row.stage[i])
			}
		}
	}
}

// values are those of a metric's labels, in the order of the labels' names.
func values(metric *dto.Metric) []string {
	var all []string
	for _, label := range metric.GetLabel() {
		all = append(all, label.GetValue())
	}
	return all
}
