// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// errPending is why a volume that is being published has no SVID.
var errPending = errors.New("the volume is being published")

// Metrics returns the metrics of issuances and of deliveries.
func (m *Manager) Metrics() []prometheus.Collector {
	return append(m.issuances.Collectors(), m.fanOut.Collectors()...)
}

// Snapshots returns what there is to tell of each volume at the moment.
func (m *Manager) Snapshots() iter.Seq[observe.Snapshot] {
	m.mu.Lock()
	records := slices.Collect(maps.Values(m.records))
	m.mu.Unlock()
	return func(yield func(observe.Snapshot) bool) {
		for _, r := range records {
			if !yield(snapshotOf(r.id, r.view.Load())) {
				return
			}
		}
	}
}

// Snapshot returns what there is to tell of one volume.
func (m *Manager) Snapshot(id string) observe.Snapshot {
	if r := m.record(id, false); r != nil {
		return snapshotOf(id, r.view.Load())
	}
	return observe.Snapshot{VolumeID: id}
}

func snapshotOf(id string, v *view) observe.Snapshot {
	s := observe.Snapshot{
		VolumeID: id, Live: v.live, Damage: v.seen.damage,
		RenewalDue: v.renewalAt, Renewing: v.state.IsRenewing(), WaitsForToken: v.state.NeedsToken(),
		Failures: v.state.Failures(), LastError: v.seen.lastErr, LastErrorAt: v.seen.lastErrAt,
		ToReissue: v.state.NeedsReissue(), Unverified: v.seen.unverified != "",
	}
	if by := v.seen.shadowedBy; by != "" {
		s.Shadowed = mounts.ShadowedNote(by)
	}
	if containers := v.seen.subPath; containers != "" {
		s.SubPath = mounts.SubPathNote(containers)
	}
	s.Outdated, _ = v.state.IsOutdated()
	if open, ok := v.state.Open(); ok {
		s.OpenRequest = types.NamespacedName{Namespace: open.Order.Pod.Namespace, Name: open.Request}
	}
	if v.live != nil {
		s.Lifetime = lifetimeOf(v.live)
	}
	if v.request != nil {
		s.Issuance = &observe.Issuance{
			Policy: v.request.policy, Pod: v.request.pod, Progress: v.attempt.Progress(),
			Explanation: v.request.progress.Err(errPending).Error(),
		}
	}
	return s
}

// damageOf is for a request that could not repair the volume.
func damageOf(request PublishRequest, spiffeID string) observe.Damage {
	pod := request.Token.PodToken
	return observe.Damage{
		PodNamespace: pod.ServiceAccount.Namespace(), PodName: pod.PodName, PodUID: pod.PodUID,
		Target: request.TargetPath, SPIFFEID: spiffeID,
	}
}

// damageOfUnusable is for a request that cannot be used.
func damageOfUnusable(request UnusableRequest) observe.Damage {
	return observe.Damage{
		PodNamespace: observe.Truncate(request.PodNamespace), PodName: observe.Truncate(request.PodName), PodUID: observe.Truncate(request.PodUID),
		Target: request.TargetPath,
	}
}

// damageOfEarlier is for what an earlier process has left, and what is mounted at a target.
func (m *Manager) damageOfEarlier(id, target string) observe.Damage {
	uid := mounts.PodUID(target)
	d := observe.Damage{PodUID: uid, Target: target}
	if meta, err := m.Store.ReadMetadata(id); err == nil {
		d.PodNamespace, d.PodName, d.SPIFFEID = meta.PodNamespace, meta.PodName, meta.SPIFFEID
	}
	return d
}

// noteDamage notes that a volume is in its pod, is not as it should be for the reason of
// err, and stays so until somebody repairs it.
func (m *Manager) noteDamage(r *record, d observe.Damage, err error) {
	if data, err := volume.ReadMounted(d.Target, m.Config.Current().Volume.Files.Certificate); err == nil {
		if chain, err := pemcerts.Parse(data); err == nil {
			leaf := chain[0]
			d.NotBefore, d.NotAfter = leaf.NotBefore, leaf.NotAfter
			if id, err := x509svid.IDFromCert(leaf); err == nil {
				d.SPIFFEID = id.String()
			}
		}
	}
	d.Err, d.At = err, time.Now()
	r.seen.damage = &d
}

// detectShadowed is for volumes of an earlier process: what their pods see is not written
// anywhere else than in the mount table.
func (m *Manager) detectShadowed() {
	targets := map[string]string{}
	m.each(func(r *record) {
		if live := r.view.Load().live; live != nil {
			targets[r.id] = live.TargetPath
		}
	})
	foreign := mounts.DetectShadowed(m.Store, m.Log, targets)
	m.each(func(r *record) {
		if by := foreign[r.id]; by != "" {
			done := make(chan struct{})
			m.post(r, message{done: done, run: func(r *record) lifecycle.Event { m.noteShadowed(r, by); return nil }})
			<-done
		}
	})
}

// noteShadowed notes what the pod's containers may see in place of the volume.
func (m *Manager) noteShadowed(r *record, by string) {
	r.seen.shadowedBy = by
	if by == "" || r.live == nil {
		return
	}
	m.warnings.Shadowed(r.id, r.live.Pod(), by, func() int { return m.shadowed(r.id) + 1 })
}

// shadowed returns how many other volumes were mounted over something else.
func (m *Manager) shadowed(except string) (n int) {
	m.each(func(r *record) {
		if r.id != except && r.view.Load().seen.shadowedBy != "" {
			n++
		}
	})
	return n
}

// warnSubPath tells if containers do not see the SVID that has just replaced another one.
// It does so once for each volume and process.
func (m *Manager) warnSubPath(r *record) {
	containers := mounts.SubPathContainers(r.live.TargetPath)
	before := r.seen.subPath
	r.seen.subPath = containers
	if containers == "" || before != "" {
		return
	}
	m.warnings.SubPath(r.id, r.live.Pod(), containers)
}

// checkChain verifies the chain in the files of a volume with the trust bundle in force, and
// warns if that fails, once for each chain and bundle. A chain that it does not verify is
// delivered all the same: the bundle may be what is wrong, or be replaced a moment later.
func (m *Manager) checkChain(id string) {
	r := m.record(id, false)
	if r == nil {
		return
	}
	live := r.view.Load().live
	if live != nil && r.view.Load().seen.keyUnchecked {
		m.checkKey(r, live)
	}
	unverified := ""
	var failure error
	if bundle := m.Bundle.Current(); live != nil && bundle != nil {
		failed, err := m.Files.Verify(id, live, bundle, time.Now())
		if err != nil {
			return // it is being unpublished, or is damaged, which is told of elsewhere
		}
		if failed != nil {
			unverified, failure = live.Request+" by "+bundle.Hash(), failed
		}
	}
	if r.view.Load().seen.unverified == unverified {
		return
	}
	m.post(r, message{run: func(r *record) lifecycle.Event {
		m.noteUnverified(r, unverified, failure)
		return nil
	}})
}

// checkKey checks the key that an earlier process has left, in full. A volume with a damaged
// one is renewed at once.
func (m *Manager) checkKey(r *record, live *volume.Metadata) {
	failure := m.Files.CheckKey(r.id, live)
	m.post(r, message{run: func(r *record) lifecycle.Event {
		checked := r.seen.keyUnchecked
		r.seen.keyUnchecked = false
		if failure == nil || !checked || r.live == nil || r.live.Request != live.Request {
			return nil
		}
		m.Log.Warn("a volume of an earlier process has a damaged key, and gets another one", "volume", r.id, "pod", live.Pod(), "error", failure)
		return lifecycle.Broken{}
	}})
}

func (m *Manager) noteUnverified(r *record, unverified string, failure error) {
	before := r.seen.unverified
	r.seen.unverified = unverified
	if r.live == nil || before == unverified {
		return
	}
	about := []any{"volume", r.id, "pod", r.live.Pod(), "spiffeID", r.live.SPIFFEID, "request", r.live.Request}
	if bundle := m.Bundle.Current(); bundle != nil {
		about = append(about, "trustBundle", bundle.Hash())
	}
	switch {
	case failure != nil:
		m.Log.Warn("the trust bundle in force does not verify the certificate chain of a volume: "+
			"peers with this bundle reject it; add the root of the issuer to trustBundle.path", append(about, "error", failure)...)
	case m.Bundle.Current() != nil:
		m.Log.Info("the trust bundle in force verifies the certificate chain of a volume again", about...)
	}
}
