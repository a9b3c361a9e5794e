// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// unseen are the requests that this process has asked the API server to make, and
// that no watch has shown yet: they may be there and open while a watch is behind, or
// broken. The zero value is ready for use.
type unseen struct {
	mu sync.Mutex
	// volumes are the values of the requests' labels for the volume.
	volumes map[types.NamespacedName]string
}

// add notes that a request of a volume is about to be made, and reports whether it was
// to be before.
func (u *unseen) add(request types.NamespacedName, volumeID string) (again bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.volumes == nil {
		u.volumes = map[types.NamespacedName]string{}
	}
	_, again = u.volumes[request]
	u.volumes[request] = labelValue(volumeID)
	return again
}

// drop notes that a request was seen, has its answer, was deleted, or never made.
func (u *unseen) drop(request types.NamespacedName) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.volumes, request)
}

// ofVolume are those of a volume in a namespace.
func (u *unseen) ofVolume(namespace, volumeID string) (requests []types.NamespacedName) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for request, label := range u.volumes {
		if request.Namespace == namespace && label == labelValue(volumeID) {
			requests = append(requests, request)
		}
	}
	return requests
}
