// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"sync"
	"time"
)

const (
	// freshFor is how long a publish goes before renewals. One that takes longer waits for
	// somebody else, and must not hold them up.
	freshFor = 2 * time.Second
	// longestWait is how late a renewal may become by letting publishes go before it,
	// however many there are.
	longestWait = 10 * time.Second
)

// publishPriority lets the first SVIDs of pods that start go before renewals, which have
// time: both take the same API server and the same signer. The zero value is ready for use.
type publishPriority struct {
	mu sync.Mutex
	// fresh counts the publishes that go before renewals.
	fresh int
	// none is closed when there is none any more.
	none chan struct{}
}

// begin notes that a publish needs an SVID. The caller calls end when it has it, or none.
func (p *publishPriority) begin() (end func()) {
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

func (p *publishPriority) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fresh--
	if p.fresh == 0 {
		close(p.none)
	}
}

// waitForPublishes returns when no publish goes before a renewal, at most after the given
// time, or when ctx ends.
func (p *publishPriority) waitForPublishes(ctx context.Context, atMost time.Duration) {
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

// letPublishesGoFirst has a renewal that is due wait for publishes, but none for longer than
// it has time: what is late already does not wait.
func (m *Manager) letPublishesGoFirst(ctx context.Context, id string, late time.Duration) {
	r := m.record(id, false)
	if r == nil {
		return
	}
	live := r.view.Load().live
	if live == nil {
		return
	}
	if atMost := min(longestWait, lifetimeOf(live).Length()/20) - late; atMost > 0 {
		m.publishes.waitForPublishes(ctx, atMost)
	}
}
