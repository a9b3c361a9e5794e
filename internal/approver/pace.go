// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
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
type pacer struct {
	mu    sync.Mutex
	paces map[string]*pace
}

// pace is what is known of one question to the webhook.
type pace struct {
	// remembered is until when the webhook will know the answer.
	remembered time.Time
	// asking is set while a request has gone ahead.
	asking bool
	// parked have come in the meantime.
	parked []item
	// refused counts how often in a row the signer's decisions were refused,
	// and resting is until when no other is tried.
	refused int
	resting time.Time
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
	// manyPaces is how many may be known before those that are of no use any
	// more are dropped. Each namespace has one if the issuer is an Issuer.
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
	pacer  *pacer
	began  time.Time
	ahead  *pace // the pace in which it has gone ahead, or nil
	kind   *pace
	signer *pace
}

// enter asks for a turn for a decision: for an issuer of a kind, which is signer.
// Without one, the decision is to be made after the returned time or, if that is
// zero, when [turn.leave] returns it.
func (p *pacer) enter(kind, signer string, i item, now time.Time) (t *turn, after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t = &turn{pacer: p, began: now, kind: p.of(kind, now), signer: p.of(signer, now)}
	if rest := t.signer.resting.Sub(now); rest > 0 {
		return nil, rest
	}
	for _, pace := range []*pace{t.kind, t.signer} {
		switch {
		case now.Before(pace.remembered):
		case pace.asking:
			pace.parked = append(pace.parked, i)
			return nil, 0
		default:
			pace.asking = true
			t.ahead = pace
			return t, 0
		}
	}
	return t, 0
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
		t.signer.refused, t.signer.resting = 0, time.Time{}
	case refused:
		if now.Before(t.signer.resting) {
			break // Another that was under way at the same time has said so.
		}
		rest := min(firstRest<<min(t.signer.refused, 16), lastRest)
		t.signer.refused++
		t.signer.resting = now.Add(rest)
	case failed:
	}
	if t.ahead != nil {
		again, t.ahead.parked, t.ahead.asking = t.ahead.parked, nil, false
	}
	return again
}

// of needs the lock.
func (p *pacer) of(name string, now time.Time) *pace {
	if known, ok := p.paces[name]; ok {
		return known
	}
	if p.paces == nil {
		p.paces = map[string]*pace{}
	}
	if len(p.paces) >= manyPaces {
		for name, known := range p.paces {
			if !known.asking && !now.Before(known.remembered) && now.Sub(known.resting) > lastRest {
				delete(p.paces, name)
			}
		}
	}
	known := &pace{}
	p.paces[name] = known
	return known
}
