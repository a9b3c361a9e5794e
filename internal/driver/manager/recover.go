// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

var (
	// errGone means that somebody has removed a volume that is in a pod.
	errGone = errors.New("its folder was removed from the tmpfs")
	// errOnlyPending means that a volume is in a pod, and that nothing is kept of it but a
	// request for its next SVID.
	errOnlyPending = errors.New("its metadata are gone")
)

// recovery is what a start has found of an earlier process.
type recovery struct {
	// targets are where volumes are mounted, by volume ID.
	targets                map[string]string
	live, waiting, damaged atomic.Int64
}

// Recover takes over the volumes that an earlier process has left in the store. One that
// cannot be understood is left alone and told of: the next call of the kubelet for it
// repairs it, or destroys it. Call it before [Manager.Run].
func (m *Manager) Recover(c *config.Config) error {
	ids, err := m.Store.List()
	if err != nil {
		return err
	}
	if strays, err := m.Store.Strays(); err == nil && len(strays) > 0 {
		m.Log.Warn("there is something in the tmpfs that is not the driver's; it is left alone", "names", strays)
	}
	began, found := time.Now(), recovery{}
	if found.targets, err = m.Store.Targets(); err != nil {
		m.Log.Warn("cannot tell which damaged volumes are in pods", "error", err)
	}
	var group errgroup.Group
	// To read a key takes a millisecond, and there may be a thousand.
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, id := range ids {
		group.Go(func() error { m.recover(id, &found, nil); return nil })
	}
	for id, target := range found.targets {
		_, elsewhere := mounts.CheckTarget(c.Driver.KubeletRootDir, target) // what somebody has mounted for himself
		if !slices.Contains(ids, id) && elsewhere == nil {
			group.Go(func() error { m.recover(id, &found, errGone); return nil })
		}
	}
	_ = group.Wait()
	m.detectShadowed()
	if len(ids) > 0 || found.damaged.Load() > 0 {
		m.Log.Info("took over the volumes of an earlier process", "volumes", found.live.Load(), "waiting", found.waiting.Load(),
			"damaged", found.damaged.Load(), "duration", time.Since(began))
	}
	return nil
}

// recover takes over one volume, unless it is known to be gone.
func (m *Manager) recover(id string, found *recovery, gone error) {
	done := make(chan struct{})
	m.send(id, true, message{done: done, run: func(r *record) lifecycle.Event {
		if gone != nil {
			return m.recoverDamaged(r, found, gone)
		}
		return m.recoverOne(r, found)
	}})
	<-done
	if r := m.record(id, false); r != nil && r.view.Load().live != nil {
		m.chains.Add(id)
	}
}

// recoverOne reads what is there of one volume. There may be an SVID, a request that is to
// bring one, or both.
func (m *Manager) recoverOne(r *record, found *recovery) lifecycle.Event {
	var e lifecycle.Recovered
	pending, err := m.readPending(r.id)
	if err != nil && !errors.Is(err, volume.ErrNotFound) {
		m.Log.Warn("the request that was under way is lost", "volume", r.id, "error", err)
	}
	live, key, err := m.Files.Read(r.id)
	if pending != nil {
		e.Open = openOf(pending)
		if live != nil && pending.Owns(key) {
			e.SameKey, err = true, nil
			m.dateAnew(live, pending)
		}
		r.pending, r.lastPod = pending, pending.Pod
	}
	switch {
	case err == nil:
		m.completeObtained(live, r.id)
		m.Store.Tidy(r.id)
		m.Files.FindContent(r.id, live)
		e.Sure = m.claimTarget(r, live) && mounts.PodUID(live.TargetPath) == live.PodUID
		r.live, r.seen.keyUnchecked = live, true
		e.Volume, e.HasVolume = volumeOf(live, m.Files.Present(live)), true
		found.live.Add(1)
		return e
	case pending != nil && errors.Is(err, volume.ErrNotFound):
		if found.targets[r.id] == "" {
			found.waiting.Add(1)
			return e
		}
		err = errOnlyPending
	}
	damaged := m.recoverDamaged(r, found, err)
	e.Damaged = damaged != nil
	return e
}

// recoverDamaged tells of a volume that cannot be taken over, and notes what is wrong with
// it if it is in a pod.
func (m *Manager) recoverDamaged(r *record, found *recovery, err error) lifecycle.Event {
	target := found.targets[r.id]
	m.Log.Warn("a volume of an earlier process cannot be taken over; it heals when the kubelet publishes it again",
		"volume", r.id, "target", target, "error", err)
	found.damaged.Add(1)
	if target == "" {
		return nil
	}
	m.noteDamage(r, m.damageOfEarlier(r.id, target), err)
	if at, err := m.Store.InspectTarget(r.id, target); err == nil && at.Own {
		_ = m.targets.Claim(target, r.id)
	}
	return lifecycle.Damaged{}
}

func (m *Manager) readPending(id string) (*issuance.Pending, error) {
	data, err := m.Store.ReadPending(id)
	if err != nil {
		return nil, err
	}
	return issuance.UnmarshalPending(data)
}

// openOf is what decisions need to know of a pending request.
func openOf(p *issuance.Pending) lifecycle.Open {
	return lifecycle.Open{Request: p.Request.Name, Order: lifecycle.Order{
		Policy: p.PolicyHash(), Identity: p.IdentityHash, Duration: p.Duration,
		Pod: lifecycle.Pod{UID: p.Pod.UID, Namespace: p.Pod.Namespace, ServiceAccount: p.Pod.ServiceAccount},
	}}
}

// dateAnew has it found out again when an SVID was obtained that came from a request which
// is still kept, unless that was noted.
func (m *Manager) dateAnew(live *volume.Metadata, pending *issuance.Pending) {
	if live.Request != pending.Request.Name {
		live.Obtained = time.Time{}
	}
}

// completeObtained notes when an SVID was obtained, if that was not noted, because the
// process was killed before or was of an earlier version, or if the clock was set back
// since. It is when the files were written, at the latest.
func (m *Manager) completeObtained(live *volume.Metadata, id string) {
	now := time.Now()
	if !live.Obtained.IsZero() && !lifetimeOf(live).IsFromTheFuture(now) {
		return
	}
	live.Obtained = now
	if written, err := m.Store.Written(id); err == nil && written.Before(now) {
		live.Obtained = written
	}
}

// claimTarget notes that a volume of an earlier process is where it was published, if it is,
// and reports whether it is mounted there as it should be.
func (m *Manager) claimTarget(r *record, live *volume.Metadata) (mounted bool) {
	mounted, err := m.Store.Mounted(r.id, live.TargetPath)
	if err != nil {
		return false
	}
	about := []any{"volume", r.id, "pod", live.Pod(), "target", live.TargetPath}
	if !mounted {
		if at, err := m.Store.InspectTarget(r.id, live.TargetPath); err != nil || !at.Own {
			m.Log.Warn("a volume of an earlier process is not mounted; it is when the kubelet publishes it again", about...)
			return false
		}
		m.Log.Warn("a volume of an earlier process is not mounted read-only; it is when the kubelet publishes it again", about...)
	}
	_ = m.targets.Claim(live.TargetPath, r.id) // nothing else can be mounted on top
	return mounted
}
