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

// about says in a log which request a decision is about, and what it says.
func about(request *cmapi.CertificateRequest, decision policy.Decision) []any {
	return []any{
		"request", request.Namespace + "/" + request.Name, "verdict", decision.Verdict.String(),
		"user", shown(request.Spec.Username), "spiffeID", decision.ID.String(),
		"issuer", shown(policy.IssuerRef(request.Spec.IssuerRef).String()),
		"reasons", reasonClasses(decision), "message", decision.Message(),
	}
}

// shown makes text that a requester may have written fit for a log: in ASCII, in
// one line, and no longer than any good name.
func shown(text string) string {
	quoted := fmt.Sprintf("%+.320q", text)
	return quoted[1 : len(quoted)-1]
}

// shownError is shown for what the API server has said, which may repeat what it
// was told.
func shownError(err error) string {
	quoted := fmt.Sprintf("%+.1024q", err.Error())
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// tell has the log, the metrics and, if it is a denial, an Event say what has
// been decided.
func (a *Approver) tell(e entry, decision policy.Decision) {
	a.log.Info("decided", append(about(e.request, decision), "took", time.Since(e.seen).Round(time.Microsecond))...)
	a.metrics.observe(e, decision)
	if decision.Verdict == policy.Deny {
		a.denials.add(e.request, decision)
	}
}

// leaveAlone tells why a request that might have been approved was not.
func (a *Approver) leaveAlone(request *cmapi.CertificateRequest, decision policy.Decision) {
	if len(decision.Reasons) == 0 {
		return
	}
	a.metrics.decisions.WithLabelValues(outcomeLeftAlone).Inc()
	a.log.Info("left alone: it is for another issuer, and approver.approveOthers does not cover it", about(request, decision)...)
	a.inbox.leave(request) // There may be very many. After a change they are listed again.
}

// complain logs that a decision could not be written. When many fail for the
// same reason, it does so now and then only; the metrics count them.
func (a *Approver) complain(request *cmapi.CertificateRequest, err error) {
	// Those about other issuers must not keep one about our own from being told.
	kind := fmt.Sprintf("%s ours=%t", failureClass(err), a.rollout.isOurs(request.Spec.IssuerRef))
	if a.complaints.due(kind, time.Now()) {
		a.log.Error("writing a decision failed; it is tried again until it works", "request", request.Namespace+"/"+request.Name,
			"issuer", shown(policy.IssuerRef(request.Spec.IssuerRef).String()), "error", shownError(err))
	}
}

// warnOfOther tells of a request for an SVID that somebody else has approved, most
// likely without looking at it: an issuer then signs whatever is asked for.
func (a *Approver) warnOfOther(request *cmapi.CertificateRequest) {
	a.metrics.foreignApprovals.Inc()
	if !a.complaints.due("approved by another", time.Now()) {
		return
	}
	approval := apiutil.GetCertificateRequestCondition(request, cmapi.CertificateRequestConditionApproved)
	a.log.Warn("a request for the issuer was approved by another approver, which may let everything pass; is cert-manager's default approver off?",
		"request", request.Namespace+"/"+request.Name, "issuer", shown(policy.IssuerRef(request.Spec.IssuerRef).String()),
		"by", shown(approval.Reason), "message", shown(approval.Message))
}

// betweenComplaints of one class goes at least this long.
const betweenComplaints = 10 * time.Second

// complaints remembers when there was the last one of each class.
type complaints struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// due reports whether it is time to complain again.
func (c *complaints) due(class string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.last[class]; ok && now.Sub(last) < betweenComplaints {
		return false
	}
	if c.last == nil {
		c.last = map[string]time.Time{}
	}
	c.last[class] = now
	return true
}
