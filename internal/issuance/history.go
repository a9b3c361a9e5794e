// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Known is a request that the watch knows of.
type Known struct {
	Request types.NamespacedName
	// Created is when it was created, in whole seconds, by the API server's clock.
	Created time.Time
	// Issued is whether it has brought a certificate.
	Issued bool
}

// OfVolume returns the requests of a volume that the watch knows of, the latest
// first; those of the same second by their names.
func (r *Requester) OfVolume(volumeID string) []Known {
	requests := r.tracker.ofVolume(volumeID)
	known := make([]Known, len(requests))
	for i, request := range requests {
		known[i] = Known{nameOf(request), request.CreationTimestamp.Time, request.issued}
	}
	slices.SortFunc(known, func(a, b Known) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Request.String(), b.Request.String()))
	})
	return known
}
