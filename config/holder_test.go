// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"sync"
	"testing"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// told reports whether a change was told, without waiting for one.
func told(changes <-chan struct{}) bool {
	select {
	case <-changes:
		return true
	default:
		return false
	}
}

func TestHolderTellsOfChanges(t *testing.T) {
	t.Parallel()
	one, two := parse(t, minimal), parse(t, minimal+"certificate: {duration: 2h}\n")
	holder := config.NewHolder(one)
	first, cancel := holder.Subscribe()
	second, cancelSecond := holder.Subscribe()
	defer cancelSecond()
	if told(first) {
		t.Error("told before there was a change")
	}
	holder.Set(two)
	if holder.Current() != two || !told(first) || told(first) {
		t.Error("a change is not told once")
	}
	holder.Set(one)
	holder.Set(two)
	if !told(first) || told(first) || !told(second) || told(second) {
		t.Error("changes that nobody has looked at are not told together")
	}
	cancel()
	cancel()
	holder.Set(one)
	if told(first) || !told(second) {
		t.Error("cancel ended another subscription than its own")
	}
}

func TestHolderIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	all := []*config.Config{parse(t, minimal), parse(t, minimal+"certificate: {duration: 2h}\n")}
	holder := config.NewHolder(all[0])
	last, cancel := holder.Subscribe()
	defer cancel()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			changes, cancel := holder.Subscribe()
			defer cancel()
			for range 100 {
				holder.Set(all[i%2])
				told(changes)
				if c := holder.Current(); c != all[0] && c != all[1] {
					t.Error("Current is none that was set")
				}
			}
		})
	}
	wg.Wait()
	if !told(last) {
		t.Error("800 changes went untold")
	}
}
