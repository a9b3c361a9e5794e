// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// answering refuses every update.
func answering(code int, message string) inProcess {
	return func(r *http.Request) (*http.Response, error) {
		return (&api{answers: []answer{{code, message}}}).inProcess(r)
	}
}

// What a restart does not mend must not cause one, however long it lasts.
func TestHealthyWhatARestartDoesNotMend(t *testing.T) {
	t.Parallel()
	slow := &api{}
	for _, row := range []struct {
		name     string
		answers  inProcess
		requests int
		stamp    string // of the requests
		stands   bool   // whether it stands by
	}{
		{name: "nothing to do", answers: slow.inProcess},
		{name: "standing by", answers: slow.inProcess, requests: 10, stands: true},
		{name: "the webhook is away", answers: answering(http.StatusInternalServerError, `failed calling webhook "webhook.cert-manager.io"`), requests: 10},
		{name: "a right is missing", answers: answering(http.StatusForbidden, "does not have permissions to set approved/denied conditions"), requests: 10},
		{name: "the API server refuses", answers: answering(http.StatusForbidden, "no"), requests: 10},
		{name: "the API server has too much to do", answers: answering(http.StatusTooManyRequests, "later"), requests: 10},
		{name: "somebody else always writes", answers: answering(http.StatusConflict, "changed"), requests: 10},
		{name: "the API server is away", answers: func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, requests: 10},
		{name: "the API server hangs", answers: hang, requests: 10},
		{name: "the policy is not known yet", answers: slow.inProcess, requests: 10, stamp: "0123456789abcdef"},
		{name: "a backlog that takes long", requests: 2000, answers: func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return slow.inProcess(r)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				approver := newApproverThrough(t, row.answers.access())
				for i := range row.requests {
					request := named("waits-"+strconv.Itoa(i), "ca")
					request.CreationTimestamp = metav1.Now()
					if row.stamp != "" {
						request.Annotations = map[string]string{policy.AnnotationHash: row.stamp}
					}
					approver.see(t, request)
				}
				if row.stands {
					defer approver.denials.broadcaster.Shutdown()
				} else {
					defer approver.lead(t)()
				}
				for range 120 {
					time.Sleep(10 * time.Second)
					if err := approver.Healthy(t.Context()); err != nil {
						t.Fatalf("it is to be restarted: %v", err)
					}
				}
			})
		})
	}
}

func TestUnhealthyWithAWorkerThatIsStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		approver := newApproverThrough(t, inProcess(func(*http.Request) (*http.Response, error) {
			<-release // whatever becomes of the call
			return nil, io.ErrUnexpectedEOF
		}).access())
		approver.see(t, named("stuck", "ca"))
		stop := approver.lead(t)
		defer func() { close(release); stop() }()
		time.Sleep(stuckAfter)
		check(t, approver.Healthy(t.Context()))
		time.Sleep(time.Second)
		if err := approver.Healthy(t.Context()); !errors.Is(err, errWorkerStuck) {
			t.Errorf("got %v, want errWorkerStuck", err)
		}
	})
}

// Requests that wait, and no worker takes one.
func TestUnhealthyWithoutWorkers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		approver := newApproverThrough(t, inProcess((&api{}).inProcess).access())
		defer approver.denials.broadcaster.Shutdown()
		approver.see(t, named("waits", "ca"))
		time.Sleep(time.Hour) // standing by
		waiting := newQueue(2)
		defer waiting.ShutDown()
		defer approver.undecided.feed(waiting)()
		time.Sleep(stuckAfter)
		check(t, approver.Healthy(t.Context()))
		time.Sleep(time.Second)
		if err := approver.Healthy(t.Context()); !errors.Is(err, errNotDeciding) {
			t.Errorf("got %v, want errNotDeciding", err)
		}
	})
}

// A request that nobody will look at again, while others are decided.
func TestUnhealthyWhenARequestIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		approver := newApproverThrough(t, inProcess((&api{}).inProcess).access())
		defer approver.denials.broadcaster.Shutdown()
		waiting := newQueue(2)
		defer waiting.ShutDown()
		defer approver.undecided.feed(waiting)()
		approver.see(t, named("lost", "ca"))
		lost, _ := waiting.Get()
		waiting.Done(lost)
		for range 9 {
			check(t, approver.Healthy(t.Context()))
			approver.see(t, named("another", "ca"))
			approver.workOne(t.Context(), waiting)
			time.Sleep(10 * time.Second)
		}
		if err := approver.Healthy(t.Context()); !errors.Is(err, errNotDeciding) || !strings.Contains(err.Error(), "sandbox/lost") {
			t.Errorf("got %v, want errNotDeciding about sandbox/lost", err)
		}
		approver.see(t, decidedNow(named("lost", "ca")))
		check(t, approver.Healthy(t.Context()))
	})
}

// silence is the body of an answer that does not come.
type silence struct {
	io.Closer
	ctx context.Context
}

func (s silence) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

// watching runs the watches of an approver until the returned function is called.
func (a *Approver) watching(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	needed, _ := a.rollout.scopes(time.Now())
	a.sources.set(ctx, needed)
	return func() {
		cancel()
		a.sources.ending.Wait()
		a.denials.broadcaster.Shutdown()
	}
}

func TestUnhealthyWithAWatchThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		approver := newApproverThrough(t, inProcess(func(r *http.Request) (*http.Response, error) {
			answer := httptest.NewRecorder()
			answer.Header().Set("Content-Type", "application/json")
			if r.URL.Query().Get("watch") != "" { // It begins, and never ends.
				result := answer.Result()
				result.Body = silence{io.NopCloser(nil), r.Context()}
				return result, nil
			}
			_, _ = answer.WriteString(`{"kind":"CertificateRequestList","apiVersion":"cert-manager.io/v1","metadata":{"resourceVersion":"1"},"items":[]}`)
			return answer.Result(), nil
		}).access())
		defer approver.watching(t)()
		time.Sleep(silentAfter - time.Minute)
		check(t, approver.Healthy(t.Context()))
		time.Sleep(2 * time.Minute)
		if err := approver.Healthy(t.Context()); !errors.Is(err, errWatchDead) {
			t.Errorf("got %v, want errWatchDead", err)
		}
	})
}

func TestHealthyWhileNothingCanBeWatched(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		answers inProcess
	}{
		{"the API server is away", func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }},
		{"the API server hangs", hang},
		{"it may not", func(*http.Request) (*http.Response, error) {
			answer := httptest.NewRecorder()
			answer.Header().Set("Content-Type", "application/json")
			answer.WriteHeader(http.StatusForbidden)
			_, _ = answer.WriteString(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":403,"reason":"Forbidden"}`)
			return answer.Result(), nil
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				approver := newApproverThrough(t, row.answers.access())
				defer approver.watching(t)()
				for range 60 {
					time.Sleep(time.Minute)
					if err := approver.Healthy(t.Context()); err != nil {
						t.Fatalf("it is to be restarted: %v", err)
					}
				}
				if err := approver.Ready(); err == nil {
					t.Error("it is ready")
				}
			})
		})
	}
}

func TestUnhealthyWithAWatchThatHasEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		approver := newApproverThrough(t, inProcess(hang).access())
		defer approver.watching(t)()
		for _, running := range approver.sources.running {
			running.mu.Lock()
			running.ended = true
			running.mu.Unlock()
		}
		if err := approver.Healthy(t.Context()); !errors.Is(err, errWatchDead) {
			t.Errorf("got %v, want errWatchDead", err)
		}
	})
}

// A leader whose renewal hangs does not notice that its Lease has expired.
func TestUnhealthyWithALeaseThatHasExpired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lease []byte
		kept := "application/json" // the content type of the lease
		release := make(chan struct{})
		var hangs atomic.Bool
		approver := newApproverThrough(t, inProcess(func(r *http.Request) (*http.Response, error) {
			if hangs.Load() {
				<-release // whatever becomes of the call
				return nil, io.ErrUnexpectedEOF
			}
			answer := httptest.NewRecorder()
			if r.Method != http.MethodGet {
				lease, _ = io.ReadAll(r.Body)
				kept = r.Header.Get("Content-Type")
			}
			answer.Header().Set("Content-Type", kept)
			if lease == nil {
				answer.WriteHeader(http.StatusNotFound)
				_, _ = answer.WriteString(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":404,"reason":"NotFound"}`)
			}
			_, _ = answer.Write(lease)
			return answer.Result(), nil
		}).access())
		defer approver.denials.broadcaster.Shutdown()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		election := config.LeaderElection{Enabled: true, LeaseName: "l", LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second}
		go func() {
			defer close(ended)
			_ = approver.elect(ctx, election, func(ctx context.Context) { <-ctx.Done() })
		}()
		// The elector does not guard what its health is read from, so it has to pause.
		healthyAfter := func(d time.Duration) error {
			time.Sleep(d)
			synctest.Wait()
			return approver.Healthy(t.Context())
		}
		check(t, healthyAfter(time.Minute))
		hangs.Store(true)
		check(t, healthyAfter(election.LeaseDuration+leaseTolerance-5*time.Second))
		if err := healthyAfter(10 * time.Second); !errors.Is(err, errLeaseExpired) {
			t.Errorf("got %v, want errLeaseExpired", err)
		}
		stop()
		close(release)
		<-ended
	})
}
