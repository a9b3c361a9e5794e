// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe/observetest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// errAway is what is said of an API server that is away.
var errAway = errors.New("connection refused")

// errQuota is what the API server says if a ResourceQuota has no room.
func errQuota() error {
	resource := schema.GroupResource{Group: "cert-manager.io", Resource: "certificaterequests"}
	return apierrors.NewForbidden(resource, "", errors.New("exceeded quota: requests"))
}

// everybody is for all orders.
func everybody(issuance.Order) bool { return true }

// inTurn returns a function that fails with each of some errors in turn, and then no more.
func inTurn(errs ...error) func(issuance.Order) error {
	return func(issuance.Order) error {
		if len(errs) == 0 {
			return nil
		}
		err := errs[0]
		errs = errs[1:]
		return err
	}
}

func TestPublishMountsAWholeSVID(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		svid := w.mustPublish(web())
		_, err := svid.Certificates[0].Verify(x509.VerifyOptions{Roots: rootsOf(w.api), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, CurrentTime: time.Now()})
		check(t, err)
		pass(0)
		w.api.mustHave(t, 1)
		w.log.mustSay(t, 1, "msg=published", "pod=sandbox/web-0")
		if _, err := w.store.ReadPending(web().volume()); !errors.Is(err, volume.ErrNotFound) {
			t.Errorf("the pending request is kept: %v", err)
		}
	})
}

func rootsOf(a *api) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(a.ca)
	return roots
}

// The kubelet calls again and again while the pod runs. It finds the volume as it is, and
// nobody is asked, but the next renewal uses the token that came last.
func TestRepublishFindsTheVolumeAndKeepsTheFreshToken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		before := w.mustPublish(web())
		fresh := w.request(web())
		fresh.Token = web().token(time.Now().Add(48 * time.Hour))
		for range 3 {
			check(t, w.publishAs(fresh))
		}
		if after := w.mustHaveSVID(web()); !after.Certificates[0].Equal(before.Certificates[0]) {
			t.Error("the SVID has changed")
		}
		w.api.mustHaveAsked(t, 1)
		pass(time.Until(w.of(web()).RenewalDue))
		w.api.mustHaveAsked(t, 2)
		if used := w.api.asked()[1].order.Token.Reveal(); used != fresh.Token.Secret.Reveal() {
			t.Errorf("the renewal used the %s", used)
		}
	})
}

// A call ends in time for its answer to reach the kubelet, and says what was waited for.
func TestPublishEndsInTime(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name             string
		timeout          string
		kubelet, answers time.Duration
	}{
		{"the configuration is first", "30s", 2 * time.Minute, 30 * time.Second},
		{"the kubelet is first", "30s", 10 * time.Second, 9 * time.Second},
		{"no time is left", "30s", time.Millisecond, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t, "driver: {publishTimeout: "+row.timeout+"}")
				w.api.now(behaviour{undecided: everybody})
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), row.kubelet)
				defer cancel()
				err := w.Publish(ctx, w.config.Current(), w.request(web()))
				if took := time.Since(began); took != row.answers || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("after %s: %v, want the answer after %s", took, err, row.answers)
				}
				if row.answers > 0 && !strings.Contains(err.Error(), "waiting for approval: no approver has decided") {
					t.Errorf("%q does not say what was waited for", err)
				}
			})
		})
	}
}

// The SVID that comes when the kubelet has given up is there for its next call.
func TestTheKubeletGivesUpAndComesAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.api.now(behaviour{undecided: everybody})
		gaveUp := errors.New("the kubelet hung up")
		ctx, cancel := context.WithCancelCause(t.Context())
		answer := calling(func() error { return w.Publish(ctx, w.config.Current(), w.request(web())) })
		mustWait(t, answer)
		cancel(gaveUp)
		if err := answered(t, answer); !errors.Is(err, gaveUp) {
			t.Errorf("got %v, want %v", err, gaveUp)
		}
		w.api.decide(nil)
		pass(time.Second)
		if _, err := os.Lstat(w.target(web())); !os.IsNotExist(err) {
			t.Errorf("at the target: %v", err)
		}
		w.mustPublish(web())
		w.api.mustHaveAsked(t, 1)
		w.api.mustHave(t, 1)
	})
}

// So is one that takes until the next call, and the failure that comes meanwhile.
func TestTheNextCallWaitsForTheSameRequest(t *testing.T) {
	t.Parallel()
	for name, verdict := range map[string]error{"issued": nil, "denied": issuance.ErrDenied} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.api.now(behaviour{undecided: everybody})
				if err := w.publish(web()); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				answer := w.publishing(web())
				mustWait(t, answer)
				w.api.decide(verdict)
				if err := answered(t, answer); !errors.Is(err, verdict) {
					t.Errorf("got %v, want %v", err, verdict)
				}
				w.api.mustHaveAsked(t, 1)
			})
		})
	}
}

// A request is not given up while the kubelet asks for the volume, however long it takes.
func TestAFirstRequestThatTakesLong(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		timeout string
		// pause is how long the kubelet waits after each answer.
		pause time.Duration
	}{
		{"asked for all the time", "110s", 0},
		{"asked for with pauses", "30s", 2*time.Minute + 10*time.Second},
		{"asked for just before it is given up", "110s", 9*time.Minute + 30*time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t, "driver: {publishTimeout: "+row.timeout+"}")
				w.api.now(behaviour{undecided: everybody})
				for began := time.Now(); time.Since(began) < 35*time.Minute; pass(row.pause) {
					if err := w.publish(web()); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("after %s: %v", time.Since(began), err)
					}
				}
				w.log.mustSay(t, 0, "nobody asks for a volume any more")
				w.api.decide(nil)
				w.mustPublish(web())
				w.api.mustHaveAsked(t, 1)
				w.api.mustHave(t, 1)
			})
		})
	}
}

// A failure that comes when nobody waits is told to the next call, if that is soon.
func TestFailureThatNobodyWaitedFor(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		later time.Duration
		want  error
	}{
		{"soon", 30 * time.Second, issuance.ErrDenied},
		{"long after", 2 * time.Minute, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.api.now(behaviour{undecided: everybody})
				if err := w.publish(web()); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				w.api.decide(issuance.ErrDenied)
				w.api.now(behaviour{})
				pass(row.later)
				if err := w.publish(web()); !errors.Is(err, row.want) {
					t.Errorf("got %v, want %v", err, row.want)
				}
				w.mustPublish(web())
			})
		})
	}
}

// What makes a publish fail leaves nothing behind, for after most errors the kubelet does
// not call unpublish. The next call begins anew.
func TestPublishThatFails(t *testing.T) {
	t.Parallel()
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "certificaterequests"}, "", errors.New(`User "x" cannot create`))
	expired := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}
	for _, row := range []struct {
		name    string
		api     behaviour
		want    error
		outcome string
	}{
		{"denied", behaviour{verdict: func(issuance.Order) error { return issuance.ErrDenied }}, issuance.ErrDenied, "denied,stage=approve"},
		{"failed", behaviour{verdict: func(issuance.Order) error { return issuance.ErrFailed }}, issuance.ErrFailed, "failed,stage=approve"},
		{"not allowed", behaviour{create: func(issuance.Order) error { return forbidden }}, forbidden, "refused,stage=create"},
		{"over quota, and nothing to delete", behaviour{create: func(issuance.Order) error { return errQuota() }}, errQuota(), "refused,stage=create"},
		{"every name is taken", behaviour{create: func(issuance.Order) error { return issuance.ErrNotOurs }}, issuance.ErrNotOurs, "refused,stage=create"},
		{"a certificate that has expired", behaviour{sign: expired}, issuance.ErrBadCertificate, "bad_certificate,stage=verify"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.api.now(row.api)
				err := w.publish(web())
				var issue *issuance.Error
				if !errors.As(err, &issue) || !errors.Is(err, row.want) && issue.Err.Error() != row.want.Error() {
					t.Errorf("got %v, want %v", err, row.want)
				}
				pass(2 * time.Minute)
				w.mustLeaveNothing()
				w.api.mustHave(t, 0)
				if got := observetest.Samples(t, w.Metrics()...); got["issuances_total{operation=publish,outcome="+row.outcome+"}"] != 1 {
					t.Errorf("the metrics are %v", got)
				}
				w.api.now(behaviour{})
				w.mustPublish(web())
			})
		})
	}
}

// While the API server is away, or overloaded, the driver asks again by itself. A kubelet
// that waits is answered as soon as it is back.
func TestTheAPIServerIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		err   error
		least time.Duration
	}{
		"away":                         {errAway, time.Second},
		"overloaded, and says for how": {apierrors.NewTooManyRequests("later", 7), 14 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.api.now(behaviour{create: inTurn(row.err, row.err)})
				began := time.Now()
				w.mustPublish(web())
				if took := time.Since(began); took < row.least || took > 2*row.least+time.Second {
					t.Errorf("it took %s, want about %s", took, row.least)
				}
				w.api.mustHave(t, 1)
				w.log.mustSay(t, 2, "the API server cannot be asked for an SVID now", "pod=sandbox/web-0")
				if got := observetest.Samples(t, w.Metrics()...); got["retries_total{operation=publish}"] != 2 {
					t.Errorf("the metrics are %v", got)
				}
			})
		})
	}
}

// A ResourceQuota that has no room is given some by deleting what the volume does not need.
func TestQuotaHasRoomWhenEarlierRequestsAreDeleted(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t, "certificateRequests: {historyLimit: 3}")
		w.mustPublish(web())
		pass(0)
		earlier := w.api.names()
		w.api.now(behaviour{create: func(issuance.Order) error {
			if len(w.api.requests) > 0 {
				return errQuota()
			}
			return nil
		}})
		pass(time.Until(w.of(web()).RenewalDue) + time.Second)
		if got := w.api.names(); len(got) != 1 || got[0] == earlier[0] {
			t.Errorf("the requests are %v, before they were %v", got, earlier)
		}
		w.log.mustSay(t, 1, "a ResourceQuota leaves no room")
		w.log.mustSay(t, 1, "msg=renewed")
	})
}

func TestAnotherNameIsTriedIfOneIsTaken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.api.now(behaviour{create: inTurn(issuance.ErrNotOurs, issuance.ErrNotOurs)})
		w.mustPublish(web())
		names := map[string]bool{}
		for _, call := range w.api.asked() {
			names[call.request.Name] = true
		}
		if len(names) != 3 {
			t.Errorf("tried are %v, want three names", names)
		}
		w.log.mustSay(t, 2, "somebody else has made a CertificateRequest of the name")
	})
}

func mustContain(t *testing.T, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%q does not contain %q", text, part)
	}
}

// What cannot be mounted stays to be collected.
func TestVolumeThatCannotBeMounted(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		folder := filepath.Dir(w.target(web()))
		check(t, os.MkdirAll(filepath.Dir(folder), 0o750))
		check(t, os.WriteFile(folder, nil, 0o600))
		if err := w.publish(web()); err == nil {
			t.Error("published where there is a file")
		}
		if _, err := os.Stat(w.store.DataPath(web().volume())); !os.IsNotExist(err) {
			t.Errorf("the files that nobody has seen: %v", err)
		}
		check(t, os.Remove(folder))
		w.mustPublish(web())
		w.api.mustHaveAsked(t, 1)
	})
}

// No volume is published where there is no room for it, or where another one is.
func TestPublishIsRefused(t *testing.T) {
	t.Parallel()
	noRoom := errors.New("no room")
	for _, row := range []struct {
		name    string
		arrange func(w *world, request *manager.PublishRequest)
		want    error
	}{
		{"no room", func(w *world, _ *manager.PublishRequest) { w.room = noRoom }, noRoom},
		{"the target of another volume", func(w *world, r *manager.PublishRequest) { r.TargetPath = w.target(podOf("sandbox", "other")) }, mounts.ErrOccupied},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				w := newStarted(t)
				w.mustPublish(podOf("sandbox", "other"))
				request := w.request(web())
				row.arrange(w, &request)
				if err := w.publishAs(request); !errors.Is(err, row.want) {
					t.Errorf("got %v, want %v", err, row.want)
				}
				pass(0)
				w.api.mustHaveAsked(t, 1)
				if ids, err := w.store.List(); err != nil || len(ids) != 1 {
					t.Errorf("the store has %q, %v", ids, err)
				}
				w.mustHaveSVID(podOf("sandbox", "other"))
				check(t, w.publish(podOf("sandbox", "other"))) // which takes no room
			})
		})
	}
}

// The target of a publish that has failed is free for another volume.
func TestTargetOfAPublishThatHasFailed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.api.now(behaviour{verdict: func(issuance.Order) error { return issuance.ErrDenied }})
		if err := w.publish(web()); !errors.Is(err, issuance.ErrDenied) {
			t.Errorf("got %v", err)
		}
		w.api.now(behaviour{})
		next := w.request(web())
		next.VolumeID = "csi-next"
		check(t, w.publishAs(next))
	})
}

// What is measured of a publish begins with the call of the kubelet.
func TestPublishIsMeasuredFromTheCall(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		request := w.request(web())
		request.Received = time.Now().Add(-3 * time.Second)
		check(t, w.publishAs(request))
		if got := observetest.Samples(t, w.Metrics()...); got["issuance_duration_seconds_sum{operation=publish}"] != 3 {
			t.Errorf("the metrics are %v", got)
		}
		w.log.mustSay(t, 1, "msg=published", "duration=3s")
	})
}

// A request under another policy than the present one is given up, and the call that waits
// gets what is asked for now. There is never more than one that is open.
func TestPublishWhileTheConfigurationChanges(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		w := newStarted(t)
		w.api.now(behaviour{undecided: everybody})
		answer := w.publishing(web())
		mustWait(t, answer)
		w.api.now(behaviour{})
		w.configure("certificate: {duration: 2h}")
		check(t, answered(t, answer))
		if leaf := w.mustHaveSVID(web()).Certificates[0]; leaf.NotAfter.Sub(leaf.NotBefore) != 2*time.Hour {
			t.Errorf("it is valid for %s", leaf.NotAfter.Sub(leaf.NotBefore))
		}
		w.api.mustHaveAsked(t, 2)
		pass(time.Minute)
		w.api.mustHave(t, 1)
	})
}
