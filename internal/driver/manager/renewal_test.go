// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe/observetest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// A renewal replaces key and certificate in one step. Whoever has opened the directory of
// the pair goes on with that pair.
func TestRenewalReplacesThePairInOneStep(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		before := w.mustPublish(web())
		open, err := os.OpenRoot(filepath.Join(w.store.DataPath(web().volume()), "..data"))
		check(t, err)
		defer open.Close()
		w.untilDue(web())
		after := w.mustHaveSVID(web())
		if after.Certificates[0].Equal(before.Certificates[0]) || samePublicKey(after, before) {
			t.Error("certificate or key are those of before")
		}
		if kept := mustReadSVID(t, open); !kept.Certificates[0].Equal(before.Certificates[0]) {
			t.Error("who has opened the directory has another pair")
		}
		w.log.mustSay(t, 1, "msg=renewed", "pod=sandbox/web-0")
		w.api.mustHaveAsked(t, 2)
		pass(time.Minute)
		w.api.mustHave(t, 1)
		if s := w.of(web()); s.Live.EarlyRenewals != 1 || s.Renewing || s.Failures != 0 || !s.RenewalDue.Before(after.Certificates[0].NotAfter) {
			t.Errorf("it is told of as %+v", s)
		}
	})
}

func samePublicKey(a, b *x509svid.SVID) bool {
	key, ok := a.Certificates[0].PublicKey.(interface {
		Equal(key crypto.PublicKey) bool
	})
	return ok && key.Equal(b.Certificates[0].PublicKey)
}

// Renewals go on for as long as the pod runs, and there is always an SVID that is valid.
func TestRenewalsGoOn(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		for range 40 {
			pass(15 * time.Minute)
			if leaf := w.mustHaveSVID(web()).Certificates[0]; time.Now().After(leaf.NotAfter) {
				t.Fatalf("at %s there is an SVID that has expired at %s", time.Now(), leaf.NotAfter)
			}
		}
		if n := len(w.api.asked()); n < 15 || n > 25 {
			t.Errorf("in ten hours %d were asked for, each for an hour", n)
		}
		w.api.mustHave(t, 1)
	})
}

// Without a token of the pod nothing can be done. The volume stays as it is, and is renewed
// as soon as the kubelet has called.
func TestRenewalWaitsForAToken(t *testing.T) {
	t.Parallel()
	for name, until := range map[string]func(w *world){
		"it has expired": func(w *world) {
			request := w.request(web())
			request.Token = web().token(time.Now().Add(time.Minute))
			check(w.t, w.publishAs(request))
			w.untilDue(web())
		},
		"none has come since the start": func(w *world) {
			w.mustPublish(web())
			due := w.of(web()).RenewalDue
			w.restart()
			pass(time.Until(due) + time.Millisecond)
		},
		"the SVID has expired, and none has come": func(w *world) {
			w.mustPublish(web())
			w.stop()
			pass(2 * time.Hour)
			w.start()
			pass(0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				until(w)
				w.api.mustHaveAsked(t, 1)
				w.log.mustSay(t, 1, "renewal waits for the kubelet to publish again")
				if s := w.of(web()); !s.WaitsForToken || !s.RenewalDue.IsZero() {
					t.Errorf("it is told of as %+v", s)
				}
				check(t, w.publish(web()))
				pass(time.Millisecond)
				w.api.mustHaveAsked(t, 2)
				if s := w.of(web()); s.WaitsForToken || s.Live.Request != w.api.asked()[1].request.Name {
					t.Errorf("it is told of as %+v", s)
				}
			})
		})
	}
}

// A renewal that fails is one line with all that is known of it, and is tried again, the
// later the more often it has failed. The volume keeps what it has.
func TestRenewalThatFails(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		api   behaviour
		want  error
		stage string
	}{
		{"denied", behaviour{verdict: func(issuance.Order) error { return issuance.ErrDenied }}, issuance.ErrDenied, "approve"},
		{"the API server is away", behaviour{create: func(issuance.Order) error { return errAway }}, errAway, "create"},
		{"no approver decides", behaviour{undecided: everybody}, context.DeadlineExceeded, "approve"},
		{"the API server does not answer", behaviour{hangs: everybody}, context.DeadlineExceeded, "create"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t, "driver: {publishTimeout: 5s}")
				before := w.mustPublish(web())
				w.api.now(row.api)
				w.untilDue(web())
				w.until(func() bool { return w.of(web()).Failures == 3 })
				s := w.of(web())
				if !errors.Is(s.LastError, row.want) || s.LastErrorAt.IsZero() || !s.Live.NotAfter.Equal(before.Certificates[0].NotAfter) {
					t.Errorf("it is told of as %+v", s)
				}
				w.log.mustSay(t, s.Failures, "msg=\"renewal failed\"", "level=ERROR", "volume="+web().volume(), "pod=sandbox/web-0", "spiffeID=", "notAfter=",
					"duration=", "stage="+row.stage, "error=", "failures=", "retryIn=")
				if after := w.mustHaveSVID(web()); !samePublicKey(before, after) {
					t.Error("the volume has another key")
				}
				got := observetest.Samples(t, w.Metrics()...)
				if got["renewal_failures_total{}"] != float64(s.Failures) || got["retries_total{operation=renewal}"] < 2 {
					t.Errorf("the metrics are %v", got)
				}
				check(t, w.unpublish(web()))
				pass(time.Second)
				w.mustLeaveNothing()
			})
		})
	}
}

// until lets time pass in a bubble until something is so.
func (w *world) until(is func() bool) {
	w.t.Helper()
	for range 36000 {
		if is() {
			return
		}
		pass(100 * time.Millisecond)
	}
	w.t.Fatal("it has not become so within an hour")
}

// What an approver decides when the attempt has ended is delivered by the next one, and
// nothing is requested twice.
func TestRenewalThatTakesLong(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t, "driver: {publishTimeout: 5s}")
		before := w.mustPublish(web())
		w.api.now(behaviour{undecided: everybody})
		w.until(func() bool { return w.of(web()).Failures == 1 })
		s := w.of(web())
		if s.Renewing || !errors.Is(s.LastError, context.DeadlineExceeded) {
			t.Errorf("it is told of as %+v", s)
		}
		mustContain(t, s.LastError.Error(), "waiting for approval: no approver has decided")
		w.api.decide(nil)
		w.untilDue(web())
		if after := w.mustHaveSVID(web()); samePublicKey(after, before) {
			t.Error("the volume has the key of before")
		}
		w.api.mustHaveAsked(t, 2)
		if s := w.of(web()); s.Failures != 0 || s.LastError != nil {
			t.Errorf("it is told of as %+v", s)
		}
	})
}

// Where there is no room for an SVID, the volume keeps what it has, and gets the same SVID
// as soon as there is.
func TestRenewalWithoutAnyRoom(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newWorldOf(t, openStore(t, volume.WithSize(1<<20)))
		w.configure()
		w.start()
		before := w.mustPublish(web())
		filler := filepath.Join(w.store.Root(), "filler")
		w.step = func(name string) {
			if name == string(issuance.StageVerify) { // the request finds room
				_ = os.WriteFile(filler, make([]byte, 1<<20), 0o600) // until it is full
			}
		}
		w.untilDue(web())
		w.step = nil
		s := w.of(web())
		if s.Failures != 1 || !errors.Is(s.LastError, volume.ErrFull) {
			t.Errorf("it is told of as %+v", s)
		}
		if stage, request := observe.PlaceOf(s.LastError); stage != issuance.StageWrite || request.Name != w.api.asked()[1].request.Name {
			t.Errorf("it failed at %q with %s", stage, request)
		}
		if !samePublicKey(before, w.mustHaveSVID(web())) {
			t.Error("the volume has another key")
		}
		check(t, os.Remove(filler))
		w.untilDue(web())
		if samePublicKey(before, w.mustHaveSVID(web())) {
			t.Error("the volume has the key of before")
		}
		w.api.mustHaveAsked(t, 2)
		if s := w.of(web()); s.Failures != 0 || s.LastError != nil || s.OpenRequest.Name != "" {
			t.Errorf("it is told of as %+v", s)
		}
	})
}

// askedSince returns when a pod's SVID was asked for, after a moment; -1: not at all.
func (a *api) askedSince(p pod, since time.Time) time.Duration {
	for _, call := range a.asked() {
		if call.order.Pod.PodUID == p.uid && !call.at.Before(since) {
			return call.at.Sub(since)
		}
	}
	return -1
}

// The number of renewals at a time is limited, and whoever only waits for an approver, or an
// API server, gives way to others.
func TestRenewalsOfOneNamespaceDoNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	ofSlow := func(o issuance.Order) bool { return o.Pod.ServiceAccount.Namespace() == "slow" }
	for _, row := range []struct {
		name string
		api  behaviour
		// failed is whether the renewals of the slow namespace have failed before.
		failed bool
		want   time.Duration
	}{
		{"all are quick", behaviour{}, false, 0},
		{"an approver is slow", behaviour{undecided: ofSlow}, false, 30 * time.Second},
		{"an approver is slow, as before", behaviour{undecided: ofSlow}, true, 0},
		{"the API server does not answer for them", behaviour{hangs: ofSlow}, false, 30 * time.Second},
		{"their requests are denied", behaviour{verdict: func(o issuance.Order) error {
			if ofSlow(o) {
				return issuance.ErrDenied
			}
			return nil
		}}, false, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t, "driver: {maxConcurrentRenewals: 1}")
				pods := []pod{podOf("slow", "a"), podOf("slow", "b"), podOf("slow", "c"), podOf("fast", "d")}
				w.mustPublish(pods...)
				w.stop()
				pass(45 * time.Minute) // until all are due
				w.start()
				if row.failed {
					w.api.now(behaviour{undecided: ofSlow})
					for _, p := range pods[:3] {
						check(t, w.publish(p))
					}
					pass(80 * time.Second) // until all have failed
				}
				w.api.now(row.api)
				for _, p := range pods { // each is due when it has a token
					pass(time.Millisecond)
					check(t, w.publish(p))
				}
				began := time.Now()
				pass(time.Minute)
				if got := w.api.askedSince(pods[3], began).Round(time.Second); got != row.want {
					t.Errorf("the fast one was asked for after %s, want %s", got, row.want)
				}
				w.log.mustSay(t, 1, "msg=renewed", "pod=fast/d")
				w.api.now(behaviour{})
			})
		})
	}
}

// Pods that start go before renewals, which have time.
func TestPublishesGoBeforeRenewals(t *testing.T) {
	t.Parallel()
	const earlier = 10 * time.Millisecond
	for _, row := range []struct {
		name string
		// publishes are how long each of several takes that begin just before the renewal
		// is due.
		publishes []time.Duration
		// then is how long another one takes that begins a second later; 0: there is none.
		then time.Duration
		// lasts is how long the SVID lasts that is to be renewed.
		lasts time.Duration
		want  time.Duration
	}{
		{"none", nil, 0, time.Hour, 0},
		{"one", []time.Duration{time.Second}, 0, time.Hour, time.Second - earlier},
		{"until the last", []time.Duration{time.Second, 1500 * time.Millisecond}, 0, time.Hour, 1500*time.Millisecond - earlier},
		{"one that hangs holds up nobody", []time.Duration{time.Minute}, 0, time.Hour, 2*time.Second - earlier},
		{"one that began later", []time.Duration{1100 * time.Millisecond}, time.Second, time.Hour, 2*time.Second - earlier},
		{"no longer than the SVID has time", []time.Duration{1900 * time.Millisecond}, 0, 20 * time.Second, time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.api.now(behaviour{sign: func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(row.lasts) }})
				w.mustPublish(web())
				due := w.of(web()).RenewalDue
				pass(time.Until(due) - earlier)
				w.api.now(behaviour{undecided: func(o issuance.Order) bool { return o.Pod.PodUID != web().uid }})
				begin := func(p pod, takes time.Duration) {
					w.publishing(p)
					time.AfterFunc(takes, func() { w.api.decide(nil, p) })
				}
				for i, takes := range row.publishes {
					begin(podOf("sandbox", fmt.Sprint("starts-", i)), takes)
				}
				if row.then > 0 {
					time.AfterFunc(time.Second, func() { begin(podOf("sandbox", "starts-later"), row.then) })
				}
				pass(10 * time.Second)
				if got := w.api.askedSince(web(), due); got != row.want {
					t.Errorf("the renewal was asked for after %s, want %s", got, row.want)
				}
				w.api.now(behaviour{})
				pass(time.Minute)
			})
		})
	}
}

// A renewal that is late already lets no publish go before it.
func TestALateRenewalDoesNotWait(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		const late = 10 * time.Second // so long the one before has its slot
		w := newStarted(t, "driver: {maxConcurrentRenewals: 1}")
		before := podOf("slow", "before")
		w.mustPublish(before, web())
		w.stop()
		pass(45 * time.Minute) // until both are due
		w.start()
		w.api.now(behaviour{undecided: everybody})
		check(t, w.publish(before))
		pass(time.Millisecond)
		check(t, w.publish(web()))
		due := time.Now()
		pass(late - 10*time.Millisecond)
		w.publishing(podOf("sandbox", "starts"))
		pass(time.Minute)
		if got := w.api.askedSince(web(), due).Round(time.Second); got != late {
			t.Errorf("the renewal was asked for after %s, want %s", got, late)
		}
	})
}

// What operators find in the log of a volume's life names nobody's secrets.
func TestTheLogTellsNoTokenAndNoKey(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.mustPublish(web())
		w.untilDue(web())
		check(t, w.unpublish(web()))
		if lines := w.log.lines("token of web-0"); len(lines) > 0 {
			t.Errorf("the log has the token in it: %q", lines)
		}
		if text := strings.Join(w.log.lines(""), ""); strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("the log has a key in it: %s", text)
		}
	})
}
