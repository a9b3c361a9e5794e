// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"maps"
	"sync"
	"time"
)

// pacer keeps cert-manager's webhook from becoming the bottleneck.
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
// passed by one of another namespace, and a signer whose decisions are refused
// rests for the namespace only, until those of another are refused as well.
type pacer struct {
	mu    sync.Mutex
	paces map[string]*pace
	rests map[restOf]*signerRest
}

// pace is what is known of one question to the webhook.
type pace struct {
	// remembered is until when the webhook will know the answer.
	remembered time.Time
	// ahead is the request that has gone ahead and has not come back, or nil.
	ahead *turn
	// parked have come in the meantime.
	parked []item
}

// restOf names a signer, and the namespace that it rests for: all if that is "".
type restOf struct{ signer, namespace string }

// signerRest is for a signer whose decisions are refused.
type signerRest struct {
	// refused counts how often in a row.
	refused int
	// until is when the next decision is tried.
	until time.Time
	// by is the namespace of the decision that was refused last. It is set in the
	// rest for all namespaces only.
	by string
}

// refuse notes that a decision was refused. Of those that were under way at the
// same time, the first one counts.
func (r *signerRest) refuse(now time.Time) {
	if now.Before(r.until) {
		return
	}
	r.until = now.Add(min(firstRest<<min(r.refused, 16), lastRest))
	r.refused++
}

const (
	// rememberedFor is less than the webhook's second, for a decision takes a
	// while to get there.
	rememberedFor = 800 * time.Millisecond
	// firstRest and lastRest are how long a signer rests whose decisions are
	// refused, doubling from one to the other. One that does not exist, or for
	// which the approver has no right, must not keep it from working for others.
	firstRest = 500 * time.Millisecond
	lastRest  = 10 * time.Second
	// passedAfter is how long a request that has gone ahead holds up those of
	// other namespaces. It may take long for everybody if the webhook has to wait
	// for the API server; then another that asks does little harm.
	passedAfter = 2 * time.Second
	// manyPaces is how many paces, and rests, may be known before those that are
	// of no use any more are dropped. Each namespace has one if the issuer is an
	// Issuer.
	manyPaces = 256
)

// outcome is what became of a decision that the pacer has let through.
type outcome int

const (
	// written means that the webhook knows the answers now.
	written outcome = iota
	// refused means that no decision for this signer can be written now.
	refused
	// failed is everything else.
	failed
)

// turn is the right to write one decision. Whoever has it calls leave.
type turn struct {
	pacer        *pacer
	namespace    string
	began        time.Time
	ahead        *pace // the pace in which it has gone ahead, or nil
	kind, signer *pace
	// own and all are the signer's rests for the namespace and for all.
	own, all *signerRest
	// standIns has one parked request for each other namespace, which comes back
	// to pass this one if it takes too long.
	standIns map[string]item
}

// enter asks for a turn for a decision: for an issuer of a kind, which is signer.
// Without one, the decision is to be made after the returned time or, if that is
// zero, when [turn.leave] returns it.
func (p *pacer) enter(kind, signer string, i item, now time.Time) (t *turn, after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t = &turn{
		pacer: p, namespace: i.namespace, began: now, kind: p.pace(kind, now), signer: p.pace(signer, now),
		own: p.rest(restOf{signer, i.namespace}, now), all: p.rest(restOf{signer, ""}, now),
	}
	if rest := max(t.own.until.Sub(now), t.all.until.Sub(now)); rest > 0 {
		return nil, rest
	}
	for _, pace := range []*pace{t.kind, t.signer} {
		switch {
		case now.Before(pace.remembered):
		case pace.ahead != nil && !pace.ahead.mayBePassed(i.namespace, now):
			pace.parked = append(pace.parked, i)
			return nil, pace.ahead.standIn(i, now)
		default:
			pace.ahead, t.ahead = t, pace
			return t, 0
		}
	}
	return t, 0
}

// mayBePassed reports whether a turn that has gone ahead takes too long for
// requests of a namespace to wait for it.
func (t *turn) mayBePassed(by string, now time.Time) bool {
	return by != t.namespace && now.Sub(t.began) >= passedAfter
}

// standIn returns when a request that is parked is to come back though the turn
// has not been left: one of each other namespace is, and zero is for all others.
func (t *turn) standIn(i item, now time.Time) time.Duration {
	if i.namespace == t.namespace {
		return 0
	}
	if t.standIns == nil {
		t.standIns = map[string]item{}
	}
	if _, ok := t.standIns[i.namespace]; !ok {
		t.standIns[i.namespace] = i
	}
	if t.standIns[i.namespace] != i {
		return 0
	}
	return t.began.Add(passedAfter).Sub(now)
}

// leave ends a turn, and returns the requests that can be tried again. It sets
// for how long the signer rests.
func (t *turn) leave(became outcome, now time.Time) (again []item) {
	t.pacer.mu.Lock()
	defer t.pacer.mu.Unlock()
	switch became {
	case written:
		// An answer that the webhook had already, it remembers no longer for that.
		for _, pace := range []*pace{t.kind, t.signer} {
			if !t.began.Before(pace.remembered) {
				pace.remembered = t.began.Add(rememberedFor)
			}
		}
		*t.own, *t.all = signerRest{}, signerRest{}
	case refused:
		t.own.refuse(now)
		if by := t.all.by; by != "" && by != t.namespace {
			t.all.refuse(now)
		}
		t.all.by = t.namespace
	case failed:
	}
	if t.ahead != nil && t.ahead.ahead == t { // Otherwise another has passed it.
		again, t.ahead.parked, t.ahead.ahead = t.ahead.parked, nil, nil
	}
	return again
}

// pace needs the lock.
func (p *pacer) pace(name string, now time.Time) *pace {
	if known, ok := p.paces[name]; ok {
		return known
	}
	if p.paces == nil {
		p.paces = map[string]*pace{}
	}
	if len(p.paces) >= manyPaces {
		maps.DeleteFunc(p.paces, func(_ string, known *pace) bool {
			return known.ahead == nil && !now.Before(known.remembered)
		})
	}
	known := &pace{}
	p.paces[name] = known
	return known
}

// rest needs the lock. What is dropped may still be in the hands of a turn; then
// what becomes of that is not remembered.
func (p *pacer) rest(of restOf, now time.Time) *signerRest {
	if known, ok := p.rests[of]; ok {
		return known
	}
	if p.rests == nil {
		p.rests = map[restOf]*signerRest{}
	}
	if len(p.rests) >= manyPaces {
		maps.DeleteFunc(p.rests, func(_ restOf, known *signerRest) bool { return now.Sub(known.until) > lastRest })
	}
	known := &signerRest{}
	p.rests[of] = known
	return known
}
