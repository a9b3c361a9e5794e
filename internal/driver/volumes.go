// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// volumes is what the process knows of each volume, beside what is in the
// store: tokens, which are never written to a file, and what is going on.
type volumes struct {
	mu  sync.Mutex
	all map[string]*volumeState
	// labels are the same by the label of their requests.
	labels map[string]*volumeState
}

// volumeState is one volume. It is kept while somebody works with it, or it is
// live or damaged, or a request for it is under way.
type volumeState struct {
	id string
	// users counts those who work with the volume. It falls to 0, and rises from
	// it, under volumes.mu alone.
	users atomic.Int32
	// changing is held by whoever changes the files or mounts of the volume. It
	// is a channel, so that waiting for it ends with the caller's context.
	changing chan struct{}

	// renewing is set while a renewal is under way.
	renewing atomic.Bool

	mu sync.Mutex
	// live is what was published, or nil.
	live *volume.Metadata
	// token is the latest one of the pod.
	token manager.Token
	// flight is the request to cert-manager that is under way or not yet
	// collected.
	flight *flight
	// landing is closed when the last flight has ended; nil if there was none.
	landing <-chan struct{}
	// leaving is how many calls are about to unpublish the volume.
	leaving int
	// inherited is set while the volume is as an earlier process has left it.
	inherited bool
	// claimed is the request that the next document is to come from, if any.
	claimed types.NamespacedName
	// lastPod is the pod that the volume was last for, as far as known.
	lastPod issuance.Pod
	// askedAt is when the kubelet last asked for the volume.
	askedAt time.Time
	// dueWithoutToken is set when a renewal was due and there was no token.
	dueWithoutToken bool
	// dueSince is since when a renewal that is about to begin has been due.
	dueSince time.Time
	// damage is what is wrong with a volume that is in its pod; nil: nothing.
	damage *observe.Damage
	// hiddenBy is what the pod's containers may see in place of the volume, since it
	// was mounted first; empty: nothing.
	hiddenBy string
	// subPath names the containers that mount the volume with subPath; empty: none, or
	// none is known yet.
	subPath string
	// unverified names the chain that the trust bundle in force does not verify, and the
	// bundle; empty: it does, or has not been asked.
	unverified string
	// failures counts renewals that failed, in a row.
	failures int
	// lastErr is why the last one failed, at lastErrAt; nil if it did not.
	lastErr   error
	lastErrAt time.Time
}

// acquire returns the state of a volume, making it if need be. Call release
// when done with it.
func (v *volumes) acquire(id string) *volumeState {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.all == nil {
		v.all, v.labels = map[string]*volumeState{}, map[string]*volumeState{}
	}
	state, ok := v.all[id]
	if !ok {
		state = &volumeState{id: id, changing: make(chan struct{}, 1)}
		v.all[id], v.labels[issuance.VolumeLabel(id)] = state, state
	}
	state.users.Add(1)
	return state
}

// hold is acquire for a state that the caller has already. It takes no lock of
// volumes, for the caller may hold that of the state, which release takes second.
func (s *volumeState) hold() { s.users.Add(1) }

// byLabel returns the volume whose requests have a label, or nil.
func (v *volumes) byLabel(label string) *volumeState {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.labels[label]
}

// each calls f for each volume that there is.
func (v *volumes) each(f func(*volumeState)) {
	v.mu.Lock()
	states := slices.Collect(maps.Values(v.all))
	for _, state := range states {
		state.users.Add(1)
	}
	v.mu.Unlock()
	for _, state := range states {
		f(state)
		v.release(state)
	}
}

// release forgets the volume if there is nothing left to know of it.
func (v *volumes) release(state *volumeState) {
	v.mu.Lock()
	defer v.mu.Unlock()
	last := state.users.Add(-1) == 0
	state.mu.Lock()
	defer state.mu.Unlock()
	if last && state.live == nil && state.damage == nil && state.flight == nil && state.claimed == noRequest {
		delete(v.all, state.id)
		delete(v.labels, issuance.VolumeLabel(state.id))
	}
}

// lock waits until nobody else changes the volume.
func (s *volumeState) lock(ctx context.Context) error {
	select {
	case s.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tryLock is lock if nobody changes the volume now.
func (s *volumeState) tryLock() bool {
	select {
	case s.changing <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *volumeState) unlock() { <-s.changing }

// healthy forgets what was wrong with a volume that is as it should be.
func (s *volumeState) healthy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damage = nil
}

// metadata returns what was published, or nil.
func (s *volumeState) metadata() *volume.Metadata {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

// pod returns what is known of the volume's pod: of a volume of an earlier process no
// ServiceAccount, and nothing of one that is damaged.
func (s *volumeState) pod() issuance.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.podLocked()
}

// podLocked is pod for whoever holds the lock.
func (s *volumeState) podLocked() issuance.Pod {
	switch {
	case !s.token.Secret.IsZero():
		return issuance.PodOf(s.token.PodToken)
	case s.live != nil:
		return issuance.Pod{Namespace: s.live.PodNamespace, Name: s.live.PodName, UID: s.live.PodUID}
	case s.flight != nil:
		return issuance.PodOf(s.flight.pod)
	default:
		return s.lastPod
	}
}

func (s *volumeState) setMetadata(live *volume.Metadata) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.inherited = live, false
	s.failures, s.lastErr = 0, nil
}

// forgetDue forgets that a renewal waits for a token: another time is planned.
func (s *volumeState) forgetDue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dueWithoutToken = false
}

// takeToken keeps the pod's latest token, and reports whether a renewal has
// been waiting for it.
func (s *volumeState) takeToken(token manager.Token) (renewalDue bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.askedAt = token, time.Now()
	renewalDue, s.dueWithoutToken = s.dueWithoutToken, false
	return renewalDue
}
