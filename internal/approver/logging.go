// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"fmt"
	"strings"
	"sync"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

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
