// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// callers ask one handler at the same time.
type callers struct {
	handler http.Handler
	waiting sync.WaitGroup
	mu      sync.Mutex
	answers []*httptest.ResponseRecorder
}

// ask asks for a path without waiting for the answer.
func (c *callers) ask(ctx context.Context, path string) {
	c.waiting.Go(func() {
		answer := httptest.NewRecorder()
		c.handler.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, path, http.NoBody))
		c.mu.Lock()
		defer c.mu.Unlock()
		c.answers = append(c.answers, answer)
	})
}

// pages returns the handler of a program with these checks, for as long as the
// test takes.
func pages(t *testing.T, checks Checks) *callers {
	t.Helper()
	env := Env{Log: slog.New(slog.DiscardHandler), Registry: NewRegistry(), status: &status{}}
	return &callers{handler: env.handler(t.Context(), checks)}
}

// 1,500 callers cost one call, also when the first of them does not wait for it.
func TestOneProbeIsSharedByAllCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var probes atomic.Int32
		release := make(chan struct{})
		c := pages(t, Checks{Healthy: func(ctx context.Context) error {
			probes.Add(1)
			select {
			case <-release:
				return errors.New("no answer on the socket")
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		impatient, leave := context.WithCancel(t.Context())
		c.ask(impatient, "/healthz")
		synctest.Wait()
		for range 1499 {
			c.ask(t.Context(), "/healthz")
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(release)
		c.waiting.Wait()
		if n := probes.Load(); n != 1 {
			t.Errorf("%d probes, want 1", n)
		}
		told := 0
		for _, answer := range c.answers {
			if answer.Code == http.StatusServiceUnavailable && answer.Body.String() == "no answer on the socket\n" {
				told++
			}
		}
		if told != 1499 {
			t.Errorf("%d callers were told, want 1499", told)
		}
	})
}

// A flood of callers one after the other costs ten calls a second.
func TestAFloodOfCallersMakesLittleWork(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/healthz", "/readyz"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				check := func() error {
					calls.Add(1)
					return nil
				}
				c := pages(t, Checks{Healthy: func(context.Context) error { return check() }, Ready: check})
				for range 1000 {
					c.ask(t.Context(), path)
					time.Sleep(time.Millisecond)
				}
				c.waiting.Wait()
				if n := calls.Load(); n < 10 || n > 11 {
					t.Errorf("%d calls in a second, want about 10", n)
				}
			})
		})
	}
}

// The answer is never older than the question.
func TestAnAnswerIsNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ready := errors.New("the API server is away")
		c := pages(t, Checks{Ready: func() error { return ready }})
		c.ask(t.Context(), "/readyz")
		c.waiting.Wait()
		ready = nil
		begin := time.Now()
		c.ask(t.Context(), "/readyz")
		c.waiting.Wait()
		if code := c.answers[1].Code; code != http.StatusOK || time.Since(begin) > answerPause {
			t.Errorf("%d after %s", code, time.Since(begin))
		}
	})
}

// A page that is stuck is rendered once, however often it is asked for, and its
// callers are told in time. Other pages are not affected.
func TestAPageThatIsStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		release := make(chan struct{})
		c := pages(t, Checks{Ready: func() error {
			calls.Add(1)
			<-release
			return nil
		}})
		for range 3 {
			begin := time.Now()
			c.ask(t.Context(), "/readyz")
			c.waiting.Wait()
			answer := c.answers[len(c.answers)-1]
			if answer.Code != http.StatusServiceUnavailable || !strings.HasPrefix(answer.Body.String(), "/readyz: no answer within 4s") {
				t.Errorf("%d %s", answer.Code, answer.Body)
			}
			if waited := time.Since(begin); waited != answerTimeout {
				t.Errorf("told after %s", waited)
			}
		}
		c.ask(t.Context(), "/healthz")
		c.waiting.Wait()
		if code := c.answers[3].Code; code != http.StatusOK {
			t.Errorf("/healthz is %d", code)
		}
		close(release)
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}
