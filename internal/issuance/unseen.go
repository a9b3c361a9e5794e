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
	mu       sync.Mutex
	requests map[types.NamespacedName]unseenRequest
}

type unseenRequest struct {
	// volume is the value of its label for the volume.
	volume string
	// uid is empty while its creation has not been answered.
	uid types.UID
}

// add notes that a request of a volume is about to be made, and reports whether it was
// to be before.
func (u *unseen) add(request types.NamespacedName, volumeID string) (again bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.requests == nil {
		u.requests = map[types.NamespacedName]unseenRequest{}
	}
	_, again = u.requests[request]
	u.requests[request] = unseenRequest{volume: labelValue(volumeID)}
	return again
}

// made notes what the API server has answered to the creation of a request, unless it
// was seen meanwhile.
func (u *unseen) made(request types.NamespacedName, uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if noted, ok := u.requests[request]; ok {
		noted.uid = uid
		u.requests[request] = noted
	}
}

// dropUID is drop unless it is known to be another request of that name.
func (u *unseen) dropUID(request types.NamespacedName, uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if noted := u.requests[request].uid; noted == "" || noted == uid {
		delete(u.requests, request)
	}
}

// drop notes that a request was seen, has its answer, was deleted, or never made.
func (u *unseen) drop(request types.NamespacedName) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.requests, request)
}

// ofVolume are those of a pod's volume.
func (u *unseen) ofVolume(pod Pod, volumeID string) (requests []Ref) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for request, noted := range u.requests {
		if request.Namespace == pod.Namespace && noted.volume == labelValue(volumeID) {
			requests = append(requests, Ref{request, noted.uid, pod})
		}
	}
	return requests
}
