// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"errors"
	"testing"
)

func TestPollTriesUntilItSucceeds(t *testing.T) {
	t.Parallel()
	attempts := 0
	err := poll(t.Context(), "something", func(context.Context) error {
		attempts++
		if attempts < 4 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || attempts != 4 {
		t.Errorf("%d attempts, %v; want 4 and success", attempts, err)
	}
}

func TestPollSaysWhyItGaveUp(t *testing.T) {
	t.Parallel()
	cause, last := errors.New("interrupted"), errors.New("not yet")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := poll(ctx, "something", func(context.Context) error {
		cancel(cause)
		return last
	})
	if !errors.Is(err, cause) || !errors.Is(err, last) {
		t.Errorf("error is %v, want one of %v and %v", err, cause, last)
	}
	if want := "waiting for something: interrupted; last: not yet"; err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

func TestPollBoundsEachAttempt(t *testing.T) {
	t.Parallel()
	err := poll(t.Context(), "something", func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("an attempt may take for ever")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
