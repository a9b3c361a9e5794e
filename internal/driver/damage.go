// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/pemcerts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// damage is what is known of a volume that is in its pod and not as it should be:
// nobody renews what the pod has. It is known until the volume is healed or
// unpublished.
type damage struct {
	// podNamespace, podName and podUID tell the pod, as far as it is known.
	podNamespace, podName, podUID string
	target                        string
	// spiffeID, notBefore and notAfter are of the document that the pod has, if that
	// can be read; else spiffeID is the one that it should have.
	spiffeID            string
	notBefore, notAfter time.Time
	// err is why the volume is damaged, or could not be healed, at that time.
	err error
	at  time.Time
}

// damageOf is for a request that could not heal the volume.
func damageOf(c *config.Config, request publishRequest) damage {
	pod := request.token.PodToken
	return damage{
		podNamespace: pod.ServiceAccount.Namespace(), podName: pod.PodName, podUID: pod.PodUID,
		target: request.targetPath, spiffeID: entryOfPublish(c, request).spiffeID,
	}
}

// damageOfUnusable is for a request that cannot be used.
func damageOfUnusable(req *csi.NodePublishVolumeRequest) damage {
	context := req.GetVolumeContext()
	return damage{
		podNamespace: observe.Truncate(context[keyPodNamespace]), podName: observe.Truncate(context[keyPodName]), podUID: observe.Truncate(context[keyPodUID]),
		target: req.GetTargetPath(),
	}
}

// damageOfEarlier is for what an earlier process has left, and what is mounted at a
// target.
func (d *Driver) damageOfEarlier(id, target string) damage {
	_, uid, _ := mounts.SplitTarget(target)
	if meta, err := d.store.ReadMetadata(id); err == nil {
		return damage{podNamespace: meta.PodNamespace, podName: meta.PodName, podUID: uid, target: target, spiffeID: meta.SPIFFEID}
	}
	return damage{podUID: uid, target: target}
}

// noteDamage notes that a volume is in its pod, is not as it should be for the reason
// of err, and stays so until somebody heals it.
func (d *Driver) noteDamage(c *config.Config, state *volumeState, is damage, err error) {
	if data, err := volume.ReadMounted(is.target, c.Volume.Files.Certificate); err == nil {
		if chain, err := pemcerts.Parse(data); err == nil {
			leaf := chain[0]
			is.notBefore, is.notAfter = leaf.NotBefore, leaf.NotAfter
			if id, err := x509svid.IDFromCert(leaf); err == nil {
				is.spiffeID = id.String()
			}
		}
	}
	is.err, is.at = err, time.Now()
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
	if damage != nil && d.isMounted(state, damage.target) {
		state.healthy()
	}
}

// describe tells of it in the list of volumes.
func (d *damage) describe(v *listing.Volume) {
	v.State, v.PodNamespace, v.PodName, v.PodUID = listing.Damaged, d.podNamespace, d.podName, d.podUID
	v.SPIFFEID, v.Issued, v.Expires, v.CertificateRequest = d.spiffeID, d.notBefore, d.notAfter, ""
	v.TargetPath, v.LastError, v.LastErrorTime = d.target, d.err.Error(), d.at
}

// entry is what the log says of it.
func (d *damage) entry(id string) entry {
	e := entry{volume: id, pod: d.podUID, spiffeID: d.spiffeID, notAfter: d.notAfter}
	if d.podName != "" {
		e.pod = d.podNamespace + "/" + d.podName
	}
	return e
}
