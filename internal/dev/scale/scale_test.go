// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// small is everything in a form that takes seconds.
func small(t *testing.T) sizes {
	t.Helper()
	s := defaults()
	s.repository, s.results = "../../..", t.TempDir()
	if s.bin = os.Getenv(testkit.ProgramsVariable); s.bin == "" {
		t.Skip("needs the built programs: run `make test`")
	}
	s.nodes, s.volumesPerNode, s.within = 2, 5, 0
	s.duration, s.cycles = 10*time.Second, 2
	s.historyVolumes, s.historyDuration = 10, 6*time.Second
	s.watches, s.watchRequests = 20, 3
	s.slowVolumes, s.slowDuration, s.slowFor = 20, 12*time.Second, 6*time.Second
	return s
}

// value is that of a row.
func (r *report) value(t *testing.T, name string) float64 {
	t.Helper()
	for _, row := range r.Rows {
		if row.Name == name {
			return row.Value
		}
	}
	t.Fatalf("nothing was measured that is called %q", name)
	return 0
}

func TestCrowd(t *testing.T) {
	t.Parallel()
	cluster, s, r := testkit.Require(t), small(t), newReport("crowd")
	if err := simulateCrowd(t.Context(), cluster, s, r); err != nil {
		t.Fatal(err)
	}
	if got := r.value(t, "volumes"); got != 10 {
		t.Errorf("%v volumes, want 10", got)
	}
	if got := r.value(t, "renewals"); got < 8 { // in two cycles, of which some may have begun before
		t.Errorf("%v renewals, want about 20", got)
	}
	// Of each renewal a node sees that it was created, approved, signed and deleted.
	if got := r.value(t, "watch events to drivers per renewal"); got < 2.5 || got > 8 {
		t.Errorf("%v watch events to drivers per renewal", got)
	}
	if err := r.write(t.Output(), s.results); err != nil {
		t.Error(err)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	cluster, s, r := testkit.Require(t), small(t), newReport("history")
	if err := simulateHistory(t.Context(), cluster, s, r); err != nil {
		t.Fatal(err)
	}
	none, one, three := r.value(t, "historyLimit 0: CertificateRequests per volume"), r.value(t, "historyLimit 1: CertificateRequests per volume"), r.value(t, "historyLimit 3: CertificateRequests per volume")
	if none >= one || one >= three || three > 4 {
		t.Errorf("%v, %v and %v CertificateRequests per volume, want about 0, 1 and 3", none, one, three)
	}
}

func TestSlow(t *testing.T) {
	t.Parallel()
	cluster, s, r := testkit.Require(t), small(t), newReport("slow")
	if err := simulateSlow(t.Context(), cluster, s, r); err != nil {
		t.Fatal(err)
	}
	if got := r.value(t, "slow: most open requests of a volume"); got > 1 {
		t.Errorf("a volume had %v open requests, want 1 at most", got)
	}
}

func TestWatches(t *testing.T) {
	t.Parallel()
	cluster, s, r := testkit.Require(t), small(t), newReport("watches")
	if err := simulateWatches(t.Context(), cluster, s, r); err != nil {
		t.Fatal(err)
	}
	if got := r.value(t, "kube-apiserver: CPU for all changes of a request, with no watch"); got <= 0 {
		t.Errorf("changes took %v ms", got)
	}
}

func TestMetricsAreAddedUp(t *testing.T) {
	t.Parallel()
	m, err := parseMetrics([]byte("# TYPE a counter\na{verb=\"GET\",code=\"200\"} 2\na{verb=\"GET\",code=\"404\"} 3\na{verb=\"PUT\",code=\"200\"} 7\n# TYPE b gauge\nb 1.5\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		family string
		labels []string
		want   float64
	}{
		{"a", nil, 12},
		{"a", []string{"verb", "GET"}, 5},
		{"a", []string{"verb", "GET", "code", "404"}, 3},
		{"a", []string{"verb", "DELETE"}, 0},
		{"b", nil, 1.5},
		{"c", nil, 0},
	} {
		if got := m.sum(row.family, row.labels...); got != row.want {
			t.Errorf("%s%v: %v, want %v", row.family, row.labels, got, row.want)
		}
	}
}
