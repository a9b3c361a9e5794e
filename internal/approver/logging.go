// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// logFields are the fields of a decision in the log: the request, and the decision.
func logFields(request *cmapi.CertificateRequest, decision policy.Decision) []any {
	return []any{
		"request", request.Namespace + "/" + request.Name, "verdict", decision.Verdict.String(),
		"user", sanitize(request.Spec.Username), "spiffeID", decision.ID.String(),
		"issuer", sanitize(policy.IssuerRef(request.Spec.IssuerRef).String()),
		"reasons", reasonClasses(decision), "message", decision.Message(),
	}
}

// sanitize makes text that a requester may have written fit for a log: in ASCII, in
// one line, and no longer than any good name.
func sanitize(text string) string {
	quoted := fmt.Sprintf("%+.320q", text)
	return quoted[1 : len(quoted)-1]
}

// sanitizeError is sanitize for what the API server has said, which may repeat what it
// was told.
func sanitizeError(err error) string {
	quoted := fmt.Sprintf("%+.1024q", err.Error())
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// report writes a decision to the log and the metrics and, for a denial, makes an
// Event.
func (a *Approver) report(e waitingRequest, decision policy.Decision) {
	a.log.Info("decided", append(logFields(e.request, decision), "took", time.Since(e.seen).Round(time.Microsecond))...)
	a.metrics.observe(e, decision)
	if decision.Verdict == policy.Deny {
		a.denials.add(e.request, decision)
	}
}

// reportIgnored tells why a request that might have been approved was not.
func (a *Approver) reportIgnored(request *cmapi.CertificateRequest, decision policy.Decision) {
	if len(decision.Reasons) == 0 {
		return
	}
	a.metrics.decisions.WithLabelValues(outcomeLeftAlone).Inc()
	a.log.Info("left alone: it is for another issuer, and approver.approveOthers does not cover it", logFields(request, decision)...)
	a.undecided.dropUnchanged(request) // There may be very many. After a change they are listed again.
}

// logFailure logs that a decision could not be written. When many fail for the
// same reason, it does so now and then only; the metrics count them.
func (a *Approver) logFailure(request *cmapi.CertificateRequest, err error) {
	// Those about other issuers must not keep one about our own from being told.
	kind := fmt.Sprintf("%s ours=%t", failureClass(err), a.rollout.isOurs(request.Spec.IssuerRef))
	if a.logThrottle.due(kind, time.Now()) {
		a.log.Error("writing a decision failed; it is tried again until it works", "request", request.Namespace+"/"+request.Name,
			"issuer", sanitize(policy.IssuerRef(request.Spec.IssuerRef).String()), "error", sanitizeError(err))
	}
}

// warnForeignApproval tells of a request for an SVID that somebody else has approved, most
// likely without looking at it: an issuer then signs whatever is asked for.
func (a *Approver) warnForeignApproval(request *cmapi.CertificateRequest) {
	a.metrics.foreignApprovals.Inc()
	if !a.logThrottle.due("approved by another", time.Now()) {
		return
	}
	approval := apiutil.GetCertificateRequestCondition(request, cmapi.CertificateRequestConditionApproved)
	a.log.Warn("a request for the issuer was approved by another approver, which may let everything pass; is cert-manager's default approver off?",
		"request", request.Namespace+"/"+request.Name, "issuer", sanitize(policy.IssuerRef(request.Spec.IssuerRef).String()),
		"by", sanitize(approval.Reason), "message", sanitize(approval.Message))
}

// logInterval is the least time between two messages of one class.
const logInterval = 10 * time.Second

// logThrottle remembers when a message of each class was last logged.
type logThrottle struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// due reports whether a message of a class may be logged again, and notes that it is.
func (c *logThrottle) due(class string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.last[class]; ok && now.Sub(last) < logInterval {
		return false
	}
	if c.last == nil {
		c.last = map[string]time.Time{}
	}
	c.last[class] = now
	return true
}

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
