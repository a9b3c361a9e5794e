// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// quotaWait is for how long a request is tried again after its volume's earlier requests
// were deleted: kube-controller-manager takes most often less than a second to give the
// quota back.
const quotaWait = 10 * time.Second

// quotaRoom is the room that an issuance makes for its request in the ResourceQuota of
// its namespace, by giving up what is kept of its volume's earlier requests. An SVID
// that is to replace one in a pod matters more than the history. It gives up nothing of
// other volumes, and nothing that the pod has not made. The zero value is ready for use.
type quotaRoom struct {
	// since is when the quota was found to be exceeded.
	since time.Time
	// deleted are the requests that were given up.
	deleted map[types.UID]struct{}
	// attempts counts how often the request was tried since.
	attempts int
}

// makeRoom is called when the creation of a request has failed, for cause, because a
// quota is exceeded. It deletes the volume's other requests and returns after how long the
// creation should be tried again, or false if that is of no use: nothing of the volume
// was deleted, or it was long ago.
func (d *Driver) makeRoom(ctx context.Context, state *volumeState, f *flight, order issuance.Order, pending *issuance.Pending, room *quotaRoom, cause error) (wait time.Duration, again bool) {
	if room.since.IsZero() {
		room.since, room.deleted = time.Now(), map[types.UID]struct{}{}
	}
	for _, request := range d.requester.OfVolume(state.id, issuance.PodOf(order.Pod)) {
		if _, done := room.deleted[request.UID]; done || request.Request == pending.Request {
			continue
		}
		if err := d.requester.Delete(ctx, request.Ref()); err != nil {
			d.log.Warn("could not delete an earlier CertificateRequest of a volume to make room in the namespace's ResourceQuota",
				"volume", state.id, "request", request.Request, "error", err)
			continue
		}
		room.deleted[request.UID] = struct{}{}
	}
	f.cleared = f.cleared || len(room.deleted) > 0
	if !f.cleared || time.Since(room.since) > quotaWait {
		return 0, false
	}
	if room.attempts == 0 {
		d.log.Info("a ResourceQuota leaves no room for a CertificateRequest; earlier ones of the volume are deleted, and it is tried again",
			"volume", state.id, "pod", order.Pod.ServiceAccount.Namespace()+"/"+order.Pod.PodName, "error", cause)
	}
	room.attempts++
	return issuance.QuotaRetryAfter(room.attempts), true
}
