// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"fmt"
	"time"
)

// Intervals of poll, and how long one attempt may take.
const (
	firstInterval  = 5 * time.Millisecond
	longestWait    = 100 * time.Millisecond
	attemptTimeout = 2 * time.Second
)

// poll calls attempt until it succeeds or ctx ends. The error then tells what was
// waited for, why no longer, and what the last attempt said.
func poll(ctx context.Context, what string, attempt func(context.Context) error) error {
	for interval := firstInterval; ; interval = min(2*interval, longestWait) {
		err := try(ctx, attempt)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w; last: %w", what, context.Cause(ctx), err)
		case <-time.After(interval):
		}
	}
}

func try(ctx context.Context, attempt func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return attempt(ctx)
}
