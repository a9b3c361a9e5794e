// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import "sync/atomic"

// Holder holds the one Config that is in force. It is safe for concurrent use.
//
// Each operation takes Current once and works with that to its end, so that it
// never sees half of one version of the file and half of another.
type Holder struct {
	current atomic.Pointer[Config]
}

// NewHolder returns a Holder of c, which must not be nil.
func NewHolder(c *Config) *Holder {
	h := new(Holder)
	h.current.Store(c)
	return h
}

// Current returns the Config in force.
func (h *Holder) Current() *Config { return h.current.Load() }
