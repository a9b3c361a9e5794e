// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Known is a request that the watch knows of, and of which there is proof that it was
// made in the name of a pod.
type Known struct {
	Request types.NamespacedName
	UID     types.UID
	// Pod is the one in whose name it was made.
	Pod Pod
	// Created is when it was created, in whole seconds, by the API server's clock.
	Created time.Time
	// Issued is whether it has brought a certificate.
	Issued bool
}

// Ref returns which request it is.
func (k Known) Ref() Ref { return Ref{k.Request, k.UID, k.Pod} }

func (k *knownRequest) asKnown() Known {
	return Known{nameOf(k), k.UID, k.pod, k.CreationTimestamp.Time, k.issued}
}

// OfVolume returns the requests of a volume that its pod has made and that the watch
// knows of, the latest first; those of the same second by their names. Requests of
// others that have the volume's label are not among them. Of no pod (the zero value)
// all count that some pod has made.
func (r *Requester) OfVolume(volumeID string, pod Pod) []Known {
	requests := r.tracker.ofVolume(volumeID, pod)
	known := make([]Known, len(requests))
	for i, request := range requests {
		known[i] = request.asKnown()
	}
	slices.SortFunc(known, func(a, b Known) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Request.String(), b.Request.String()))
	})
	return known
}
