// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

func TestRateIsFromTheFirstToTheLast(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := []time.Time{start.Add(2 * time.Second), start, start.Add(time.Second)}
	if rate, err := ratePerSecond(at); err != nil || rate != 1 {
		t.Errorf("three in 2 s: got %v, %v, want 1", rate, err)
	}
	for name, at := range map[string][]time.Time{"one": {start}, "two at the same time": {start, start}, "none": nil} {
		if _, err := ratePerSecond(at); !errors.Is(err, errTooFew) {
			t.Errorf("%s: got %v, want %v", name, err, errTooFew)
		}
	}
}

func TestRenewalsAreCountedInPartsOfTheWindow(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	counts := countIn(time.Second, start, []time.Time{at(-0.5), at(0.5), at(1.5), at(11.5), at(13.5)})
	if want := []float64{2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1}; !slices.Equal(counts, want) {
		t.Errorf("got %v, want %v", counts, want)
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	t.Parallel()
	u, err := testkit.ReadUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.CPU <= 0 || u.Reads <= 0 || u.Resident < 1<<20 || u.Peak < u.Resident {
		t.Errorf("got %+v", u)
	}
	const none = 1 << 30 // no kernel has so many processes
	if _, err := testkit.ReadUsage(none); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a process that is not there: got %v", err)
	}
}

func TestFieldOfCPUInfo(t *testing.T) {
	t.Parallel()
	info := []byte("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: another\n")
	if got := field(info, "model name", "unknown"); got != "Some CPU @ 2 GHz" {
		t.Errorf("got %q", got)
	}
	if got := field(info, "Hardware", "unknown"); got != "unknown" {
		t.Errorf("a name that is not there: got %q", got)
	}
}

func TestSizesOfWhatIsNotBuilt(t *testing.T) {
	t.Parallel()
	if _, err := size("no-such-program"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "make bench") {
		t.Errorf("got %v", err)
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
