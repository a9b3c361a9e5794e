// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
)

// list asks the driver for its volumes, as the command does, by pod.
func (w *world) list() map[string]listing.Volume {
	w.t.Helper()
	return w.listBy(func(v listing.Volume) string { return v.PodName })
}

// listByID is list for volumes whose pods' names may not be known.
func (w *world) listByID() map[string]listing.Volume {
	w.t.Helper()
	return w.listBy(func(v listing.Volume) string { return v.VolumeID })
}

func (w *world) listBy(key func(listing.Volume) string) map[string]listing.Volume {
	w.t.Helper()
	list, err := listing.Fetch(w.t.Context(), listing.Socket(w.socket))
	w.check(err)
	if list.Node != w.node {
		w.t.Errorf("the list is of node %q, want %q", list.Node, w.node)
	}
	volumes := map[string]listing.Volume{}
	for _, volume := range list.Volumes {
		volumes[key(volume)] = volume
	}
	return volumes
}

func TestVolumesAreListed(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 30s}" })
	w.startDriver()
	if n := len(w.list()); n != 0 {
		t.Errorf("%d volumes of a driver that has none", n)
	}
	waiting := w.pod("waiting")
	published := make(chan error, 1)
	go func() {
		_, err := w.kubelet.Publish(t.Context(), waiting, testkit.VolumeName)
		published <- err
	}()
	w.eventually("the volume is pending, and it is told what it waits for", func() bool {
		v := w.list()["waiting"]
		return v.State == listing.Pending && strings.Contains(v.LastError, "waiting for approval")
	})

	w.startApprover()
	w.check(<-published)
	svid := w.readSVID(w.kubelet.TargetPath(waiting, testkit.VolumeName))
	v := w.list()["waiting"]
	leaf := svid.Certificates[0]
	want := listing.Volume{
		PodNamespace: w.workload.Namespace, PodName: "waiting", PodUID: string(waiting.UID), State: listing.Published,
		SPIFFEID: svid.ID.String(), Issued: leaf.NotBefore, Expires: leaf.NotAfter, NextRenewal: v.NextRenewal,
		CertificateRequest: w.onlyRequest().Name, VolumeID: testkit.VolumeID(waiting, testkit.VolumeName),
		TargetPath: w.kubelet.TargetPath(waiting, testkit.VolumeName),
	}
	if v != want {
		t.Errorf("got  %+v\nwant %+v", v, want)
	}
	if left := time.Until(v.NextRenewal); left < 5*time.Second || left > 21*time.Second {
		t.Errorf("the next renewal is in %s, want after about 2/3 of 30 s", left)
	}

	w.check(w.unbindRole())
	w.eventually("a renewal has failed, and it is told why", func() bool {
		v := w.list()["waiting"]
		return v.RenewalFailures > 0 && strings.Contains(v.LastError, "cannot create") && !v.LastErrorTime.IsZero() &&
			v.NextRenewal.After(time.Now().Add(-time.Second))
	})
	troubleshooting.Row("renewal failed… error=…").Seen(t, w.log.String())
	w.check(w.bindRole())
	w.eventually("the renewal succeeds, and the error is gone", func() bool {
		v := w.list()["waiting"]
		return v.LastError == "" && v.LastErrorTime.IsZero() && v.RenewalFailures == 0 && v.Expires.After(want.Expires)
	})
	w.check(w.kubelet.Unpublish(t.Context(), waiting, testkit.VolumeName))
	if n := len(w.list()); n != 0 {
		t.Errorf("%d volumes after unpublish", n)
	}
}

// A driver that was started anew knows the volumes, and not the tokens.
func TestVolumesOfAnEarlierProcessAreListed(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 45s}" })
	w.startApprover()
	stop := w.startDriver()
	w.publish(w.pod("web-0"))
	before := w.list()["web-0"]
	stop()
	w.startDriver()
	if after := w.list()["web-0"]; after != before {
		t.Errorf("got  %+v\nwant %+v", after, before)
	}
	const row = troubleshooting.Row("renewal waits for the kubelet to publish again: no valid token of the pod is known")
	w.eventually("the renewal waits for the kubelet", func() bool { return w.list()["web-0"].LastError != "" })
	row.Seen(t, w.list()["web-0"].LastError)
}
