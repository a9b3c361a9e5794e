// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// It fails for want of the index alone, which is there.
	objects, _ := r.tracker.known.ByIndex(LabelVolume, labelValue(volumeID))
	known := make([]Known, len(objects))
	for i, object := range objects {
		known[i] = knownOf(object)
	}
	slices.SortFunc(known, func(a, b Known) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Request.String(), b.Request.String()))
	})
	return known
}

func knownOf(object any) Known {
	request := object.(metav1.Object)
	done, _ := object.(*doneRequest) // else it is open, and whole
	return Known{nameOf(request), request.GetCreationTimestamp().Time, done != nil && done.issued}
}
