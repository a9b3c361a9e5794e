// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package listing is the command csi-driver-spiffe volumes, which tells what
// volumes a node has. The running driver answers it, on a UNIX socket beside that
// of the kubelet and for root alone, since it knows more than there is in files:
// when a volume is due for renewal, and what went wrong.
//
//	listener, err := socket.Listen(ctx, listing.Socket(csiSocket)) // in the driver
//	err = listing.Serve(ctx, listener, driver.List)
//	code := listing.Command(args, streams) // beside it
package listing

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// List is what the driver of a node tells. The names of the fields in JSON are
// stable: there may be more some day, and none will mean anything else. Times are
// RFC 3339, in UTC.
type List struct {
	// Node is the name of the Kubernetes node.
	Node string `json:"node"`
	// Volumes are in the order of their pods' namespaces and names.
	Volumes []Volume `json:"volumes"`
}

// The states of a volume.
const (
	// Published is of a volume that is in its pod, with a whole SVID in it.
	Published = "Published"
	// Pending is of a volume whose first SVID is not there yet.
	Pending = "Pending"
	// Damaged is of a volume that is in its pod, and could not be given an SVID
	// by this driver: nobody renews what the pod has.
	Damaged = "Damaged"
)

// Volume is what is known of one volume. There are no secrets in it.
type Volume struct {
	// PodNamespace, PodName and PodUID tell the pod. Namespace and name are empty
	// where a volume is so damaged that they are not known.
	PodNamespace string `json:"podNamespace"`
	PodName      string `json:"podName"`
	PodUID       string `json:"podUID"`
	// State is [Published], [Pending] or [Damaged].
	State string `json:"state"`
	// SPIFFEID is the identity in the SVID; empty while there is none. Where that
	// of a damaged volume cannot be read, it is the one that the pod should have.
	SPIFFEID string `json:"spiffeID,omitempty"`
	// Issued and Expires are the SVID's validity; missing while there is
	// none.
	Issued  time.Time `json:"issued,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	// NextRenewal is when the driver next asks for an SVID. It is missing if
	// that is under way, or waits for the kubelet.
	NextRenewal time.Time `json:"nextRenewal,omitzero"`
	// LastError is what went wrong since the SVID was issued, what keeps the pod
	// from seeing it, what a volume without one waits for, or why a damaged one could
	// not be healed; empty if there is nothing. LastErrorTime is when a renewal, or
	// that, failed.
	LastError     string    `json:"lastError,omitempty"`
	LastErrorTime time.Time `json:"lastErrorTime,omitzero"`
	// RenewalFailures is how many renewals have failed since then.
	RenewalFailures int `json:"renewalFailures"`
	// CertificateRequest is the name, in the pod's namespace, of the request that
	// the SVID came from.
	CertificateRequest string `json:"certificateRequest,omitempty"`
	// VolumeID and TargetPath are what the kubelet calls the volume and its place.
	VolumeID   string `json:"volumeID"`
	TargetPath string `json:"targetPath,omitempty"`
}

// Pod is NAMESPACE/NAME of the pod, or its UID if that is all that is known.
func (v Volume) Pod() string {
	if v.PodName == "" {
		return v.PodUID
	}
	return v.PodNamespace + "/" + v.PodName
}

// tidy puts the list in order, and its times into the form that is told.
func (l List) tidy() List {
	volumes := slices.Clone(l.Volumes)
	for i := range volumes {
		for _, t := range []*time.Time{&volumes[i].Issued, &volumes[i].Expires, &volumes[i].NextRenewal, &volumes[i].LastErrorTime} {
			*t = t.UTC().Truncate(time.Second)
		}
	}
	slices.SortFunc(volumes, func(a, b Volume) int {
		return cmp.Or(cmp.Compare(a.PodNamespace, b.PodNamespace), cmp.Compare(a.PodName, b.PodName), cmp.Compare(a.VolumeID, b.VolumeID))
	})
	if volumes == nil {
		volumes = []Volume{} // [] in JSON, not null
	}
	return List{Node: l.Node, Volumes: volumes}
}

// Socket is the path of the socket on which the driver answers, beside its CSI
// socket.
func Socket(csiSocket string) string {
	return strings.TrimSuffix(csiSocket, ".sock") + "-volumes.sock"
}
