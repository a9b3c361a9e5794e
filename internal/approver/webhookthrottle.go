// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"maps"
	"sync"
	"time"
)

// webhookThrottle keeps cert-manager's webhook from becoming the bottleneck.
//
// For each decision the webhook asks the API server, up to twice, whether this
// approver may approve for the signer: for all issuers of the kind, and if not,
// for the one. It remembers the answers for a second, but it asks no more than 5
// times a second, after a burst of 10 (client-go's defaults; cert-manager v1.21,
// internal/webhook/webhook.go). Each time that it has forgotten the answers,
// workers that write their decisions at the same time all make it ask, and then
// all wait for several seconds. So one request goes ahead, and the others follow
// while the webhook remembers. No worker waits for that: a request whose turn it
// is not is parked, and its worker takes another.
//
// What happens to the decisions of one namespace must not hold up those of
// another: some may hang or fail because of an admission webhook that is only for
// that namespace. So a request that has gone ahead and does not come back is
// overtaken by one of another namespace, and a signer whose decisions are refused
// is backed off for the namespace only, until those of another are refused as well.
type webhookThrottle struct {
	mu        sync.Mutex
	questions map[string]*question
	backoffs  map[backoffKey]*signerBackoff
}

// question is what is known of one question to the webhook.
type question struct {
	// remembered is until when the webhook will know the answer.
	remembered time.Time
	// ahead is the request that has gone ahead and has not come back, or nil.
	ahead *permit
	// parked have come in the meantime.
	parked []item
}

// backoffKey names a signer, and the namespace that it is backed off for: all if that is "".
type backoffKey struct{ signer, namespace string }

// signerBackoff is for a signer whose decisions are refused.
type signerBackoff struct {
	// refused counts how often in a row.
	refused int
	// until is when the next decision is tried.
	until time.Time
	// by is the namespace of the decision that was refused last. It is set in the
	// backoff for all namespaces only.
	by string
}

// refuse notes that a decision was refused. Of those that were under way at the
// same time, the first one counts.
func (r *signerBackoff) refuse(now time.Time) {
	if now.Before(r.until) {
		return
	}
	r.until = now.Add(min(firstBackoff<<min(r.refused, 16), lastBackoff))
	r.refused++
}

const (
	// rememberedFor is less than the webhook's second, for a decision takes a
	// while to get there.
	rememberedFor = 800 * time.Millisecond
	// firstBackoff and lastBackoff are how long no decision is tried for a signer whose
	// decisions are refused, doubling from one to the other. One that does not exist, or for
	// which the approver has no right, must not keep it from working for others.
	firstBackoff = 500 * time.Millisecond
	lastBackoff  = 10 * time.Second
	// overtakeAfter is how long a request that has gone ahead holds up those of
	// other namespaces. It may take long for everybody if the webhook has to wait
	// for the API server; then another that asks does little harm.
	overtakeAfter = 2 * time.Second
	// manyQuestions is how many questions, and backoffs, may be known before those that are
	// of no use any more are dropped. Each namespace has one if the issuer is an
	// Issuer.
	manyQuestions = 256
)

// outcome is what became of a decision that the webhook throttle has let through.
type outcome int

const (
	// written means that the webhook knows the answers now.
	written outcome = iota
	// refused means that no decision for this signer can be written now.
	refused
	// failed is everything else.
	failed
)

// permit is the right to write one decision. Whoever has it calls release.
type permit struct {
	throttle     *webhookThrottle
	namespace    string
	began        time.Time
	ahead        *question // the question in which it has gone ahead, or nil
	kind, signer *question
	// own and all are the signer's backoffs for the namespace and for all.
	own, all *signerBackoff
	// returns has one parked request for each other namespace, which comes back
	// to overtake this one if it takes too long.
	returns map[string]item
}

// acquire asks for a permit for a decision: for an issuer of a kind, which is signer.
// Without one, the decision is to be made after the returned time or, if that is
// zero, when [permit.release] returns it.
func (w *webhookThrottle) acquire(kind, signer string, i item, now time.Time) (p *permit, after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p = &permit{
		throttle: w, namespace: i.namespace, began: now, kind: w.question(kind, now), signer: w.question(signer, now),
		own: w.backoff(backoffKey{signer, i.namespace}, now), all: w.backoff(backoffKey{signer, ""}, now),
	}
	if backoff := max(p.own.until.Sub(now), p.all.until.Sub(now)); backoff > 0 {
		return nil, backoff
	}
	for _, question := range []*question{p.kind, p.signer} {
		switch {
		case now.Before(question.remembered):
		case question.ahead != nil && !question.ahead.mayBeOvertaken(i.namespace, now):
			question.parked = append(question.parked, i)
			return nil, question.ahead.returnTime(i, now)
		default:
			question.ahead, p.ahead = p, question
			return p, 0
		}
	}
	return p, 0
}

// mayBeOvertaken reports whether a permit that has gone ahead takes too long for
// requests of a namespace to wait for it.
func (p *permit) mayBeOvertaken(by string, now time.Time) bool {
	return by != p.namespace && now.Sub(p.began) >= overtakeAfter
}

// returnTime returns when a request that is parked is to come back though the permit
// has not been released: one of each other namespace is, and zero is for all others.
func (p *permit) returnTime(i item, now time.Time) time.Duration {
	if i.namespace == p.namespace {
		return 0
	}
	if p.returns == nil {
		p.returns = map[string]item{}
	}
	if _, ok := p.returns[i.namespace]; !ok {
		p.returns[i.namespace] = i
	}
	if p.returns[i.namespace] != i {
		return 0
	}
	return p.began.Add(overtakeAfter).Sub(now)
}

// release ends a permit, and returns the requests that can be tried again. It sets
// how long the signer is backed off.
func (p *permit) release(became outcome, now time.Time) (again []item) {
	p.throttle.mu.Lock()
	defer p.throttle.mu.Unlock()
	switch became {
	case written:
		// An answer that the webhook had already, it remembers no longer for that.
		for _, question := range []*question{p.kind, p.signer} {
			if !p.began.Before(question.remembered) {
				question.remembered = p.began.Add(rememberedFor)
			}
		}
		*p.own, *p.all = signerBackoff{}, signerBackoff{}
	case refused:
		p.own.refuse(now)
		if by := p.all.by; by != "" && by != p.namespace {
			p.all.refuse(now)
		}
		p.all.by = p.namespace
	case failed:
	}
	if p.ahead != nil && p.ahead.ahead == p { // Otherwise another has overtaken it.
		again, p.ahead.parked, p.ahead.ahead = p.ahead.parked, nil, nil
	}
	return again
}

// question needs the lock.
func (w *webhookThrottle) question(name string, now time.Time) *question {
	if known, ok := w.questions[name]; ok {
		return known
	}
	if w.questions == nil {
		w.questions = map[string]*question{}
	}
	if len(w.questions) >= manyQuestions {
		maps.DeleteFunc(w.questions, func(_ string, known *question) bool {
			return known.ahead == nil && !now.Before(known.remembered)
		})
	}
	known := &question{}
	w.questions[name] = known
	return known
}

// backoff needs the lock. What is dropped may still be in the hands of a permit; then
// what becomes of that is not remembered.
func (w *webhookThrottle) backoff(of backoffKey, now time.Time) *signerBackoff {
	if known, ok := w.backoffs[of]; ok {
		return known
	}
	if w.backoffs == nil {
		w.backoffs = map[backoffKey]*signerBackoff{}
	}
	if len(w.backoffs) >= manyQuestions {
		maps.DeleteFunc(w.backoffs, func(_ backoffKey, known *signerBackoff) bool { return now.Sub(known.until) > lastBackoff })
	}
	known := &signerBackoff{}
	w.backoffs[of] = known
	return known
}
