// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"sync"
	"time"
)

const (
	// freshFor is how long a first mount goes before renewals. One that takes
	// longer waits for somebody else, and must not hold them up.
	freshFor = 2 * time.Second
	// longestYield is how late a renewal may become by letting first mounts go
	// before it, however many there are.
	longestYield = 10 * time.Second
)

// precedence lets the first documents of pods that start go before renewals,
// which have time: both take the same API server and the same signer. The zero
// value is ready for use.
type precedence struct {
	mu sync.Mutex
	// fresh counts the first mounts that go before renewals.
	fresh int
	// none is closed when there is none any more.
	none chan struct{}
}

// begin notes that a first mount has begun. The caller calls end when it is
// over.
func (p *precedence) begin() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fresh++
	if p.fresh == 1 {
		p.none = make(chan struct{})
	}
	once := sync.OnceFunc(p.end)
	timer := time.AfterFunc(freshFor, once)
	return func() { timer.Stop(); once() }
}

func (p *precedence) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fresh--
	if p.fresh == 0 {
		close(p.none)
	}
}

// yield returns when no first mount goes before a renewal, at most after the
// given time, or when ctx ends.
func (p *precedence) yield(ctx context.Context, atMost time.Duration) {
	enough := time.After(atMost)
	for {
		p.mu.Lock()
		fresh, none := p.fresh, p.none
		p.mu.Unlock()
		if fresh == 0 {
			return
		}
		select {
		case <-none:
		case <-enough:
			return
		case <-ctx.Done():
			return
		}
	}
}

// letMountsGoFirst has a renewal that is due wait for first mounts, but none for
// longer than it has time: what is late already does not wait.
func (d *Driver) letMountsGoFirst(ctx context.Context, id string, late time.Duration) {
	state := d.volumes.acquire(id)
	defer d.volumes.release(state)
	live := state.metadata()
	if live == nil {
		return
	}
	state.noteDue(time.Now().Add(-late))
	if atMost := min(longestYield, lifetimeOf(live).length()/20) - late; atMost > 0 {
		d.firstMounts.yield(ctx, atMost)
	}
}
