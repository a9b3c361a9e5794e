// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// One goes ahead, and the others follow when it has come back well.
func TestPacer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		enter := func() func(bool) {
			leave, err := p.enter(t.Context(), "ca")
			check(t, err)
			return leave
		}
		first := enter()
		entered := make(chan func(bool), 3)
		for range 3 {
			go func() { entered <- enter() }()
		}
		synctest.Wait()
		if len(entered) != 0 {
			t.Fatal("others have not waited for the first")
		}
		first(false)
		synctest.Wait()
		if len(entered) != 1 {
			t.Fatalf("%d go ahead after a failure, want another one", len(entered))
		}
		(<-entered)(true)
		synctest.Wait()
		if len(entered) != 2 {
			t.Fatalf("%d follow, want all", len(entered))
		}
		for range 10 {
			enter() // None of these leaves, and none waits for another.
		}
		time.Sleep(rememberedFor)
		ahead := enter()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.enter(ctx, "ca"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want it to wait for the one that has gone ahead again", err)
		}
		if _, err := p.enter(ctx, "another"); err != nil && ctx.Err() == nil {
			t.Errorf("another signer waits as well: %v", err)
		}
		ahead(true)
	})
}

func TestPacerForgetsSigners(t *testing.T) {
	t.Parallel()
	var p pacer
	start := time.Now()
	for i := range 10 * manySigners {
		_, leave := p.try(strconv.Itoa(i), start.Add(time.Duration(i)*time.Second))
		leave(true)
	}
	if n := len(p.signers); n > manySigners {
		t.Errorf("%d signers are known, want at most %d", n, manySigners)
	}
}
