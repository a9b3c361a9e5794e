// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manager carries out what [lifecycle.Next] decides. It keeps one record for each
// volume, and one worker for each record, which takes what happens to the volume one after
// the other: calls of the kubelet, results of CertificateRequests, timers, changes of the
// configuration. What a reader of the volume must see in one step is done by the worker
// itself: writing files, mounting and unmounting. Only issuance is done beside it.
//
// It reads in this order:
//
//	calls.go    the calls of the kubelet
//	record.go   what is known of a volume, its inbox and its worker
//	actions.go  each action that was decided, carried out
//	issue.go    the CertificateRequest of the next SVID
//	tell.go     what the log says of it
//	follow.go   when volumes are due, and changes of configuration, bundle and clock
//	recover.go  what an earlier process has left
//	snapshot.go what operators see
//
// Make a [Manager] with [New], call [Manager.Recover] once, and then [Manager.Run].
package manager

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/delivery"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/requests"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// Options is what a manager is made from. All fields but FollowClock, Step and Event are
// required.
type Options struct {
	// Owner is the driver that makes the requests.
	Owner issuance.Owner
	// Config holds the configuration. Each message to a volume takes one snapshot.
	Config *config.Holder
	// Log is where the manager tells what it does. It never gets a secret.
	Log *slog.Logger
	// Requester makes CertificateRequests.
	Requester Requester
	// Store holds the volumes.
	Store *volume.Store
	// Files delivers SVIDs, and Bundle is the trust bundle that is delivered with them.
	Files  *delivery.Files
	Bundle *delivery.Bundle
	// Room returns why no other volume can be published now, or nil.
	Room func() error
	// FollowClock, unless nil, takes the place of [issuance.Scheduler.FollowClock]. It is for
	// tests, whose clock is not that of the kernel.
	FollowClock func(ctx context.Context, s *issuance.Scheduler) error
	// Step, unless nil, is called with the name of each thing that has just been done. It
	// is for tests that kill the process in between.
	Step func(name string)
	// Event, unless nil, is told what people should see as an Event on the driver's own
	// pod. It must not block.
	Event func(warning bool, reason, note string)
}

// Requester makes CertificateRequests, and knows those of the node. *[issuance.Requester]
// implements it.
type Requester interface {
	requests.API

	// Issue obtains an SVID by a pending request; see [issuance.Requester.Issue].
	Issue(ctx context.Context, order issuance.Order, pending *issuance.Pending, progress *issuance.Progress) (*issuance.SVID, error)
	// OnNew has f told of each request of the node that appears. It is called before Start.
	OnNew(f func(request issuance.Known, volumeLabel string))
	// Start begins to watch the requests of the node, until ctx ends.
	Start(ctx context.Context)
}

// Manager manages the volumes of a node.
type Manager struct {
	Options

	renewals  *issuance.Scheduler
	contents  *issuance.Scheduler
	keeper    *requests.Keeper
	targets   mounts.TargetRegistry
	publishes publishPriority
	wanting   atomic.Pointer[wanting]

	issuances *observe.Issuances
	fanOut    *observe.FanOut
	chains    *delivery.ChainChecks
	warnings  mounts.Warnings
	toReissue atomic.Int64

	mu sync.Mutex
	// records are by volume ID, and labels the same by the label of their requests.
	records map[string]*record
	labels  map[string]*record
	calls   atomic.Uint64

	// life ends when the driver stops. Requests hang on it, and not on the call of the
	// kubelet that began them.
	life context.Context
	stop context.CancelCauseFunc
	// background counts workers and issuances. None may begin once it is closed.
	background sync.WaitGroup
	closing    sync.Mutex
	closed     bool
}

// ErrStopping is why calls end when the driver stops.
var ErrStopping = observe.ErrStopping

// New returns a manager that knows no volume yet.
func New(o Options) *Manager {
	if o.FollowClock == nil {
		o.FollowClock = func(ctx context.Context, s *issuance.Scheduler) error { return s.FollowClock(ctx) }
	}
	if o.Step == nil {
		o.Step = func(string) {}
	}
	if o.Event == nil {
		o.Event = func(bool, string, string) {}
	}
	m := &Manager{
		Options: o, issuances: observe.NewIssuances(), fanOut: observe.NewFanOut(),
		records: map[string]*record{}, labels: map[string]*record{},
	}
	m.warnings = mounts.Warnings{Log: o.Log, Event: o.Event, Node: o.Owner.Node}
	m.life, m.stop = context.WithCancelCause(context.Background())
	m.renewals = issuance.NewScheduler(o.Config.Current().Driver.MaxConcurrentRenewals, m.renew)
	m.renewals.Before = m.letPublishesGoFirst
	m.renewals.ClockSet = m.clockSet
	// To deliver files is work for the processor, and a pod that is being published should
	// not wait for it.
	m.contents = issuance.NewScheduler(max(4, runtime.GOMAXPROCS(0)), m.deliverContent)
	m.keeper = requests.New(o.Requester, m.volumeOfLabel, func() int { return m.Config.Current().CertificateRequests.HistoryLimit }, o.Log)
	o.Requester.OnNew(m.keeper.Seen)
	m.chains = delivery.NewChainChecks(m.checkChain)
	return m
}

// Run manages the volumes until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { m.stop(ErrStopping) })()
	m.Requester.Start(m.life)
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context){
		m.renewals.Run, m.contents.Run, m.keeper.Run, m.chains.Run, m.followConfig, m.followClock,
	} {
		group.Go(func() error { run(ctx); return nil })
	}
	_ = group.Wait()
	m.stop(ErrStopping)
	m.Bundle.Wait()
}

// Close waits until nothing is going on any more. The volumes stay as they are, for the next
// process to take over. Call it when Run has returned and nobody calls Publish or Unpublish.
func (m *Manager) Close() {
	m.stop(ErrStopping)
	m.closing.Lock()
	m.closed = true
	m.closing.Unlock()
	m.background.Wait()
}

// goInBackground runs f beside what goes on, unless the manager has been closed.
func (m *Manager) goInBackground(f func()) {
	m.closing.Lock()
	defer m.closing.Unlock()
	if !m.closed {
		m.background.Go(f)
	}
}

// Err returns why the manager does nothing any more, or nil.
func (m *Manager) Err() error { return context.Cause(m.life) }

// wanting is what a configuration wants of every volume, computed once.
type wanting struct {
	config  *config.Config
	desired lifecycle.Desired
}

// wants is what a configuration wants of every volume, but for what depends on its files.
func (m *Manager) wants(c *config.Config) lifecycle.Desired {
	if w := m.wanting.Load(); w != nil && w.config == c {
		return w.desired
	}
	under := c.Policy()
	w := &wanting{c, lifecycle.Desired{
		Policy: under.Hash(), Identity: under.IdentityHash(), Duration: under.Duration,
		Timing:        observe.TimingOf(c),
		ReissueWindow: c.Rollout.ReissueWindow, PublishTimeout: c.Driver.PublishTimeout,
	}}
	m.wanting.Store(w)
	return w.desired
}
