// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// unobserved are the requests that this process has asked the API server to make, and
// that no watch has shown yet: they may be there and open while a watch is behind, or
// broken. The zero value is ready for use.
type unobserved struct {
	mu       sync.Mutex
	requests map[types.NamespacedName]unobservedRequest
}

type unobservedRequest struct {
	// volume is the value of its label for the volume.
	volume string
	// uid is empty while its creation has not been answered.
	uid types.UID
}

// add notes that a request of a volume is about to be made, and reports whether it was
// to be before.
func (u *unobserved) add(request types.NamespacedName, volumeID string) (again bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.requests == nil {
		u.requests = map[types.NamespacedName]unobservedRequest{}
	}
	_, again = u.requests[request]
	u.requests[request] = unobservedRequest{volume: labelValue(volumeID)}
	return again
}

// made notes what the API server has answered to the creation of a request, unless it
// was seen meanwhile.
func (u *unobserved) made(request types.NamespacedName, uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if noted, ok := u.requests[request]; ok {
		noted.uid = uid
		u.requests[request] = noted
	}
}

// dropUID is drop unless it is known to be another request of that name.
func (u *unobserved) dropUID(request types.NamespacedName, uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if noted := u.requests[request].uid; noted == "" || noted == uid {
		delete(u.requests, request)
	}
}

// drop notes that a request was seen, has its answer, was deleted, or never made.
func (u *unobserved) drop(request types.NamespacedName) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.requests, request)
}

// ofVolume are those of a pod's volume.
func (u *unobserved) ofVolume(pod Pod, volumeID string) (requests []Ref) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for request, noted := range u.requests {
		if request.Namespace == pod.Namespace && noted.volume == labelValue(volumeID) {
			requests = append(requests, Ref{request, noted.uid, pod})
		}
	}
	return requests
}
