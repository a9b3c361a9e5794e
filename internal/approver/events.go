// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// EventReason is the reason of the Event that a denied CertificateRequest gets.
const EventReason = "Denied"

// denials makes an Event for each denial, for `kubectl describe` to show. No
// decision waits for that; if there are very many at a time, some get none.
type denials struct {
	broadcaster events.EventBroadcaster
	recorder    events.EventRecorder
	limit       flowcontrol.RateLimiter
	dropped     prometheus.Counter
}

// How many Events there may be in a second, and at once. Whoever floods the
// approver with wrong requests should not have it flood the API server.
const (
	eventsPerSecond = 10
	eventsAtOnce    = 100
)

func newDenials(client kubernetes.Interface, dropped prometheus.Counter) *denials {
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	return &denials{
		broadcaster, broadcaster.NewRecorder(scheme.Scheme, "csi-driver-spiffe-approver"),
		flowcontrol.NewTokenBucketRateLimiter(eventsPerSecond, eventsAtOnce), dropped,
	}
}

// start makes Events until ctx ends or stop is called.
func (d *denials) start(ctx context.Context) (stop func()) {
	// Its only error is about a broadcaster that has been shut down.
	_ = d.broadcaster.StartRecordingToSinkWithContext(ctx)
	return d.broadcaster.Shutdown
}

func (d *denials) add(request *cmapi.CertificateRequest, decision policy.Decision) {
	if !d.limit.TryAccept() {
		d.dropped.Inc()
		return
	}
	regarding := &corev1.ObjectReference{
		APIVersion: cmapi.SchemeGroupVersion.String(), Kind: cmapi.CertificateRequestKind,
		Namespace: request.Namespace, Name: request.Name, UID: request.UID, ResourceVersion: request.ResourceVersion,
	}
	d.recorder.Eventf(regarding, nil, corev1.EventTypeWarning, EventReason, "Deny", "%s", decision.Message())
}
