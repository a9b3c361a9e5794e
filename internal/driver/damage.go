// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// damageOf is for a request that could not heal the volume.
func damageOf(c *config.Config, request manager.PublishRequest) observe.Damage {
	pod := request.Token.PodToken
	return observe.Damage{
		PodNamespace: pod.ServiceAccount.Namespace(), PodName: pod.PodName, PodUID: pod.PodUID,
		Target: request.TargetPath, SPIFFEID: logFieldsOfPublish(c, request).SPIFFEID,
	}
}

// damageOfUnusable is for a request that cannot be used.
func damageOfUnusable(request manager.UnusableRequest) observe.Damage {
	return observe.Damage{
		PodNamespace: request.PodNamespace, PodName: request.PodName, PodUID: request.PodUID, Target: request.TargetPath,
	}
}

// damageOfEarlier is for what an earlier process has left, and what is mounted at a
// target.
func (d *Driver) damageOfEarlier(id, target string) observe.Damage {
	uid := mounts.PodUID(target)
	if meta, err := d.store.ReadMetadata(id); err == nil {
		return observe.Damage{PodNamespace: meta.PodNamespace, PodName: meta.PodName, PodUID: uid, Target: target, SPIFFEID: meta.SPIFFEID}
	}
	return observe.Damage{PodUID: uid, Target: target}
}

// noteDamage notes that a volume is in its pod, is not as it should be for the reason
// of err, and stays so until somebody heals it.
func (d *Driver) noteDamage(c *config.Config, state *volumeState, is observe.Damage, err error) {
	if data, err := volume.ReadMounted(is.Target, c.Volume.Files.Certificate); err == nil {
		if chain, err := pemcerts.Parse(data); err == nil {
			leaf := chain[0]
			is.NotBefore, is.NotAfter = leaf.NotBefore, leaf.NotAfter
			if id, err := x509svid.IDFromCert(leaf); err == nil {
				is.SPIFFEID = id.String()
			}
		}
	}
	is.Err, is.At = err, time.Now()
	state.mu.Lock()
	defer state.mu.Unlock()
	state.damage = &is
}

// noteHealed is for a volume that was given a new document. That heals damaged files,
// but nothing of what is mounted in the place of the volume.
func (d *Driver) noteHealed(state *volumeState) {
	state.mu.Lock()
	damage := state.damage
	state.mu.Unlock()
	if damage != nil && d.isMounted(state, damage.Target) {
		state.healthy()
	}
}
