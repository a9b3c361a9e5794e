// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"maps"
	"sync"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// EventReason is the reason of the Event that a denied CertificateRequest gets.
const EventReason = "Denied"

// denials makes an Event for each denial, for `kubectl describe` to show. No
// decision waits for that; if there are very many at a time, some get none.
type denials struct {
	broadcaster events.EventBroadcaster
	recorder    events.EventRecorder
	limit       *eventLimit
	dropped     prometheus.Counter
}

func newDenials(client kubernetes.Interface, dropped prometheus.Counter) *denials {
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	return &denials{
		broadcaster, broadcaster.NewRecorder(scheme.Scheme, "csi-driver-spiffe-approver"), newEventLimit(), dropped,
	}
}

// start makes Events until ctx ends or stop is called.
func (d *denials) start(ctx context.Context) (stop func()) {
	// Its only error is about a broadcaster that has been shut down.
	_ = d.broadcaster.StartRecordingToSinkWithContext(ctx)
	return d.broadcaster.Shutdown
}

func (d *denials) add(request *cmapi.CertificateRequest, decision policy.Decision) {
	if !d.limit.allow(request.Namespace, time.Now()) {
		d.dropped.Inc()
		return
	}
	regarding := &corev1.ObjectReference{
		APIVersion: cmapi.SchemeGroupVersion.String(), Kind: cmapi.CertificateRequestKind,
		Namespace: request.Namespace, Name: request.Name, UID: request.UID, ResourceVersion: request.ResourceVersion,
	}
	d.recorder.Eventf(regarding, nil, corev1.EventTypeWarning, EventReason, "Deny", "%s", decision.Message())
}

// How many Events there may be in a second, and at once, and how many of them for
// one namespace. Whoever floods the approver with wrong requests should not have
// it flood the API server, nor leave nothing for the denials of others.
const (
	eventsPerSecond          = 10
	eventsAtOnce             = 100
	namespaceEventsPerSecond = 2
	namespaceEventsAtOnce    = 25
	// manyLimited is how many namespaces may be known before those that have all
	// their Events again are dropped.
	manyLimited = 256
)

// eventLimit bounds the number of Events, in all and by namespace.
type eventLimit struct {
	mu         sync.Mutex
	all        *rate.Limiter
	namespaces map[string]*rate.Limiter
}

func newEventLimit() *eventLimit {
	return &eventLimit{all: rate.NewLimiter(eventsPerSecond, eventsAtOnce), namespaces: map[string]*rate.Limiter{}}
}

// allow reports whether there may be an Event for a namespace, and counts it.
func (l *eventLimit) allow(namespace string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	own, ok := l.namespaces[namespace]
	if !ok {
		if len(l.namespaces) >= manyLimited {
			maps.DeleteFunc(l.namespaces, func(_ string, known *rate.Limiter) bool {
				return known.TokensAt(now) >= namespaceEventsAtOnce
			})
		}
		own = rate.NewLimiter(namespaceEventsPerSecond, namespaceEventsAtOnce)
		l.namespaces[namespace] = own
	}
	// What the limit for all refuses does not count for the namespace.
	return own.TokensAt(now) >= 1 && l.all.AllowN(now, 1) && own.AllowN(now, 1)
}
