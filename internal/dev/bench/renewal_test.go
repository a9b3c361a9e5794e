// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"slices"
	"testing"
	"time"
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
