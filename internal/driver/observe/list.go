// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"iter"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
)

// List is what the command volumes prints of the volumes of a node. A volume of which
// there is nothing to tell is left out.
func List(node string, snapshots iter.Seq[Snapshot]) listing.List {
	list := listing.List{Node: node}
	for snapshot := range snapshots {
		if volume, ok := snapshot.describe(); ok {
			list.Volumes = append(list.Volumes, volume)
		}
	}
	return list
}

// describe returns what to print of one volume, if there is anything.
func (s Snapshot) describe() (v listing.Volume, ok bool) {
	v.VolumeID = s.VolumeID
	switch {
	case s.Live != nil:
		s.describeLive(&v)
	case s.Damage != nil: // see below
	case s.Issuance != nil:
		pod := s.Issuance.Pod
		v.State, v.PodNamespace, v.PodName, v.PodUID = listing.Pending, pod.ServiceAccount.Namespace(), pod.PodName, pod.PodUID
		v.LastError = s.Issuance.Explanation
	default:
		return listing.Volume{}, false
	}
	if s.Damage != nil {
		s.Damage.describe(&v)
	}
	return v, true
}

// describeLive is describe for a live volume. What keeps the pod from seeing its SVID
// matters less than why there is no new one.
func (s Snapshot) describeLive(v *listing.Volume) {
	live := s.Live
	v.PodNamespace, v.PodName, v.PodUID = live.PodNamespace, live.PodName, live.PodUID
	v.SPIFFEID, v.Issued, v.Expires = live.SPIFFEID, live.NotBefore, live.NotAfter
	v.CertificateRequest, v.TargetPath = live.Request, live.TargetPath
	v.State, v.RenewalFailures = listing.Published, s.Failures
	if s.Damage == nil {
		v.NextRenewal = s.RenewalDue
	}
	switch {
	case s.WaitsForToken:
		v.LastError = "renewal waits for the kubelet to publish again: " + ErrNoUsableToken.Error()
	case s.LastError != nil:
		v.LastError = s.LastError.Error()
	case s.Shadowed != "":
		v.LastError = s.Shadowed
	default:
		v.LastError = s.SubPath
	}
	if s.LastError != nil {
		v.LastErrorTime = s.LastErrorAt
	}
}

// describe is for a volume that is damaged, live or not.
func (d *Damage) describe(v *listing.Volume) {
	v.State, v.PodNamespace, v.PodName, v.PodUID = listing.Damaged, d.PodNamespace, d.PodName, d.PodUID
	v.SPIFFEID, v.Issued, v.Expires, v.CertificateRequest = d.SPIFFEID, d.NotBefore, d.NotAfter, ""
	v.TargetPath, v.LastError, v.LastErrorTime = d.Target, d.Err.Error(), d.At
}
