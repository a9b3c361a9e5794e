// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/socket"
)

// errPending is why a volume that is being published has no document.
var errPending = errors.New("the volume is being published")

// List tells what volumes the node has, and how they are.
func (d *Driver) List() listing.List {
	list := listing.List{Node: d.owner.Node}
	d.volumes.each(func(state *volumeState) {
		volume, ok := state.describe()
		if !ok {
			return
		}
		if due, planned := d.schedule.Due(state.id); planned && volume.State == listing.Published {
			volume.NextRenewal = due
		}
		list.Volumes = append(list.Volumes, volume)
	})
	return list
}

// describe tells of one volume, if there is anything to tell.
func (s *volumeState) describe() (listing.Volume, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := listing.Volume{VolumeID: s.id}
	switch {
	case s.live != nil:
		s.describeLive(&v)
	case s.damage != nil: // which is told of below
	case s.flight != nil:
		pod := s.flight.pod
		v.State, v.PodNamespace, v.PodName, v.PodUID = listing.Pending, pod.ServiceAccount.Namespace(), pod.PodName, pod.PodUID
		v.LastError = s.flight.progress.Err(errPending).Error()
	default:
		return listing.Volume{}, false
	}
	if s.damage != nil {
		s.damage.describe(&v)
	}
	return v, true
}

// describeLive tells of a live volume. The caller holds the lock.
func (s *volumeState) describeLive(v *listing.Volume) {
	live := s.live
	v.State = listing.Published
	v.PodNamespace, v.PodName, v.PodUID = live.PodNamespace, live.PodName, live.PodUID
	v.SPIFFEID, v.Issued, v.Expires = live.SPIFFEID, live.NotBefore, live.NotAfter
	v.CertificateRequest, v.TargetPath = live.Request, live.TargetPath
	v.RenewalFailures = s.failures
	if s.subPath != "" {
		v.LastError = mounts.SubPathNote(s.subPath)
	}
	if s.hiddenBy != "" {
		v.LastError = mounts.ShadowedNote(s.hiddenBy)
	}
	if s.lastErr != nil {
		v.LastError, v.LastErrorTime = s.lastErr.Error(), s.lastErrAt
	}
	if s.dueWithoutToken {
		v.LastError = "renewal waits for the kubelet to publish again: " + errNoUsableToken.Error()
	}
}

// noteError keeps what went wrong with a renewal, for the list of volumes.
func (s *volumeState) noteError(err error) { s.lastErr, s.lastErrAt = err, time.Now() }

// listenForList makes the socket of the command volumes, or returns nil: that
// there is none is no reason not to serve the kubelet.
func (d *Driver) listenForList(ctx context.Context) net.Listener {
	listener, err := socket.Listen(ctx, listing.Socket(d.socket))
	if err != nil {
		d.log.Warn(noAnswer, "error", err)
		return nil
	}
	return listener
}

// serveList answers the command volumes until ctx ends.
func (d *Driver) serveList(ctx context.Context, listener net.Listener) {
	if listener == nil {
		return
	}
	if err := listing.Serve(ctx, listener, d.List); err != nil {
		d.log.Warn(noAnswer, "error", err)
	}
}

// noAnswer is told of where the command volumes cannot be served.
const noAnswer = "the command volumes will get no answer"
