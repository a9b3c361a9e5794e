// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"strconv"
	"testing"
	"time"
)

// A namespace that floods the approver with bad requests leaves Events for others.
func TestEventsAreSharedByNamespaces(t *testing.T) {
	t.Parallel()
	limit, now := newEventLimit(), time.Now()
	allowed := func(namespace string, count int) (got int) {
		for range count {
			if limit.allow(namespace, now) {
				got++
			}
		}
		return got
	}
	for _, row := range []struct {
		name, namespace string
		after           time.Duration
		want            int
	}{
		{"a flood", "a", 0, namespaceEventsAtOnce},
		{"the rest of it", "a", 0, 0},
		{"another namespace", "b", 0, namespaceEventsAtOnce},
		{"the flood goes on", "a", time.Second, namespaceEventsPerSecond},
	} {
		now = now.Add(row.after)
		if got := allowed(row.namespace, 1000); got != row.want {
			t.Errorf("%s: %d Events, want %d", row.name, got, row.want)
		}
	}
	total := 0
	for i := range 100 {
		total += allowed("many-"+strconv.Itoa(i), 1)
	}
	if want := eventsAtOnce + eventsPerSecond - 2*namespaceEventsAtOnce - namespaceEventsPerSecond; total > want {
		t.Errorf("%d Events for many namespaces, want at most %d", total, want)
	}
	for i := range 10 * manyLimited {
		now = now.Add(time.Minute)
		limit.allow("later-"+strconv.Itoa(i), now)
	}
	if n := len(limit.namespaces); n > manyLimited {
		t.Errorf("%d namespaces are known, want at most %d", n, manyLimited)
	}
}
