// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
)

// renew is called when a volume is due, and has one of the slots for renewals until it
// returns: when the renewal is over, or waits for others.
func (m *Manager) renew(ctx context.Context, id string) {
	slot := make(chan struct{})
	if !m.send(id, false, message{event: lifecycle.Due{}, slot: slot}) {
		return
	}
	select {
	case <-slot:
	case <-ctx.Done():
	}
}

// deliverContent is called when what belongs beside an SVID is to be delivered, and returns
// when it was.
func (m *Manager) deliverContent(ctx context.Context, id string) {
	done := make(chan struct{})
	if !m.send(id, false, message{event: lifecycle.ContentDue{}, done: done}) {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// followConfig takes up changes of the configuration until ctx ends.
func (m *Manager) followConfig(ctx context.Context) {
	changes, cancel := m.Config.Subscribe()
	defer cancel()
	var before *config.Config
	for {
		c := m.Config.Current()
		m.takeConfig(ctx, before, c)
		before = c
		select {
		case <-ctx.Done():
			return
		case <-changes:
		}
	}
}

// takeConfig has every volume follow the configuration. It waits for none of them.
func (m *Manager) takeConfig(ctx context.Context, before, c *config.Config) {
	m.Bundle.Follow(ctx, c)
	fewer := before != nil && before.CertificateRequests.HistoryLimit > c.CertificateRequests.HistoryLimit
	m.tellChanged(func() {
		if n := m.toReissue.Load(); n > 0 {
			m.Log.Info("the configuration asks for other SVIDs: live volumes are re-issued", "volumes", n, "window", c.Rollout.ReissueWindow)
		}
	})
	if fewer {
		m.each(func(r *record) {
			m.post(r, message{run: func(r *record) lifecycle.Event { m.keeper.Retire(m.requestsOf(r)); return nil }})
		})
	}
}

// BundleChanged has every volume follow the trust bundle.
func (m *Manager) BundleChanged() {
	m.tellChanged(func() {})
	m.each(func(r *record) { m.chains.Add(r.id) })
}

// tellChanged tells every volume that what is desired may have changed, and calls told when
// all have followed.
func (m *Manager) tellChanged(told func()) {
	release := m.fanOut.Hold()
	wait := m.toAll(lifecycle.Changed{})
	m.goInBackground(func() {
		wait()
		release().Log(m.Log)
		told()
	})
}

// toAll sends an event to every volume. The result waits until all have taken it, or the
// driver stops.
func (m *Manager) toAll(event lifecycle.Event) (wait func()) {
	var dones []chan struct{}
	m.each(func(r *record) {
		done := make(chan struct{})
		if m.post(r, message{event: event, done: done}) {
			dones = append(dones, done)
		}
	})
	return func() {
		for _, done := range dones {
			select {
			case <-done:
			case <-m.life.Done():
			}
		}
	}
}

// each calls f for each record that there is.
func (m *Manager) each(f func(*record)) {
	m.mu.Lock()
	records := slices.Collect(maps.Values(m.records))
	m.mu.Unlock()
	for _, r := range records {
		f(r)
	}
}

// clockSet has volumes follow a wall clock that was set.
func (m *Manager) clockSet() { m.toAll(lifecycle.ClockSet{}) }

// followClock has schedules follow the wall clock when that is set.
func (m *Manager) followClock(ctx context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.FollowClock(ctx, m.contents) }) // to look at it less often
	if err := m.FollowClock(ctx, m.renewals); err != nil {
		m.Log.Warn("that the clock was set is noticed within a minute only", "error", err)
	}
	_ = group.Wait()
}

// changed follows what a message has changed, for what is counted over all volumes.
func (m *Manager) changed(id string, before, after *lifecycle.State) {
	if was, is := before.NeedsReissue(), after.NeedsReissue(); was != is {
		change := int64(1)
		if was {
			change = -1
		}
		if m.toReissue.Add(change) == 0 {
			m.Log.Info("no live volume has to be re-issued any more")
		}
	}
	wasOutdated, failuresBefore := before.IsOutdated()
	isOutdated, failures := after.IsOutdated()
	switch {
	case isOutdated && !wasOutdated:
		m.fanOut.Outdated(id)
	case wasOutdated && !isOutdated:
		m.fanOut.CaughtUp(id).Log(m.Log)
	case isOutdated && failures > failuresBefore:
		_, reached := m.fanOut.Failed(id)
		reached.Log(m.Log)
	}
}
