// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"sync"
	"sync/atomic"
)

// Holder holds the one Config that is in force. It is safe for concurrent use.
//
// Each operation takes Current once and works with that to its end, so that it
// never sees half of one version of the file and half of another.
type Holder struct {
	current atomic.Pointer[Config]

	mu          sync.Mutex // orders what Set stores and tells
	subscribers map[chan struct{}]struct{}
}

// NewHolder returns a Holder of c, which must not be nil.
func NewHolder(c *Config) *Holder {
	h := &Holder{subscribers: map[chan struct{}]struct{}{}}
	h.current.Store(c)
	return h
}

// Current returns the Config in force.
func (h *Holder) Current() *Config { return h.current.Load() }

// Set puts c in force, which must not be nil, and tells the subscribers. In a
// daemon only the [Reloader] does this.
func (h *Holder) Set(c *Config) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current.Store(c)
	for changes := range h.subscribers {
		select {
		case changes <- struct{}{}:
		default: // It has not looked since the last change, and will see both.
		}
	}
}

// Subscribe returns a channel that receives after each Set. Changes that come
// before the receiver gets to the first of them are told once: take Current on
// each. The channel is never closed; cancel ends the subscription, any number
// of times.
func (h *Holder) Subscribe() (changes <-chan struct{}, cancel func()) {
	subscriber := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribers[subscriber] = struct{}{}
	return subscriber, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subscribers, subscriber)
	}
}
