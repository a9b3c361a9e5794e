// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"sync"
	"time"
)

// pacer keeps cert-manager's webhook from becoming the bottleneck.
//
// For each decision the webhook asks the API server, up to twice, whether this
// approver may approve for the signer. It remembers the answer for a second, but
// it asks no more than 5 times a second, after a burst of 10 (client-go's
// defaults; cert-manager v1.21, internal/webhook/webhook.go). Each time that it
// has forgotten the answer, workers that write their decisions at the same time
// all make it ask, and then all wait for several seconds. So one goes ahead, and
// the others follow while the webhook remembers.
type pacer struct {
	mu      sync.Mutex
	signers map[string]*signerPace
}

type signerPace struct {
	// remembered is until when the webhook will know the answer.
	remembered time.Time
	// asking is there while one has gone ahead, and closed when it is back.
	asking chan struct{}
}

const (
	// rememberedFor is less than the webhook's second, for a decision takes a
	// while to get there.
	rememberedFor = 800 * time.Millisecond
	// manySigners is how many may be known before those that are of no use any
	// more are dropped. Each namespace has one if the issuer is an Issuer.
	manySigners = 256
)

// enter returns when a decision for a signer may be written. Whoever has written
// it calls leave, and says whether it went well.
func (p *pacer) enter(ctx context.Context, signer string) (leave func(well bool), err error) {
	for {
		ahead, leave := p.try(signer, time.Now())
		if leave != nil {
			return leave, nil
		}
		select {
		case <-ahead:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// try returns either leave, or what to wait for before trying again.
func (p *pacer) try(signer string, now time.Time) (ahead <-chan struct{}, leave func(well bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.of(signer, now)
	switch {
	case now.Before(s.remembered):
		return nil, func(bool) {}
	case s.asking != nil:
		return s.asking, nil
	}
	s.asking = make(chan struct{})
	return nil, func(well bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if well {
			s.remembered = now.Add(rememberedFor)
		}
		close(s.asking)
		s.asking = nil
	}
}

// of needs the lock.
func (p *pacer) of(signer string, now time.Time) *signerPace {
	if s, ok := p.signers[signer]; ok {
		return s
	}
	if p.signers == nil {
		p.signers = map[string]*signerPace{}
	}
	if len(p.signers) >= manySigners {
		for name, s := range p.signers {
			if s.asking == nil && !now.Before(s.remembered) {
				delete(p.signers, name)
			}
		}
	}
	s := &signerPace{}
	p.signers[signer] = s
	return s
}
