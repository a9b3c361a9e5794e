// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/listwatch"
)

// swallowing swallows the calls of a method for as long as it is on.
func swallowing(on *atomic.Bool, method string) func(*http.Request) bool {
	on.Store(true)
	return func(r *http.Request) bool { return r.Method == method && on.Load() }
}

// A call that something on the way has lost ends all the same, and the next one goes
// on with the same request.
func TestCallWithoutAnAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	issuer, order := newFakeIssuer(t), testOrder(t)
	a := newAPI(t, func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
		a.send("ADDED", signWith(t, issuer, request))
		return nil
	})
	var lost atomic.Bool
	a.swallows = swallowing(&lost, http.MethodPost)
	requester := a.requester(t)
	pending, err := order.Prepare()
	check(t, err)
	requester.callLimit = 50 * time.Millisecond
	if _, err = requester.Issue(t.Context(), order, pending, new(Progress)); !errors.Is(err, listwatch.ErrSilent) || !IsTransient(err) {
		t.Fatalf("got %v, want that there was no answer, for now", err)
	}
	lost.Store(false)
	requester.callLimit = time.Minute
	if _, err = requester.Issue(t.Context(), order, pending, new(Progress)); err != nil {
		t.Error(err)
	}
}

func TestDeletionWithoutAnAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	var lost atomic.Bool
	a.swallows = swallowing(&lost, http.MethodDelete)
	requester := a.requester(t)
	requester.callLimit = 50 * time.Millisecond
	ref := Ref{types.NamespacedName{Namespace: "sandbox", Name: "web-0-x"}, "1b2c", web0()}
	if err := requester.Delete(t.Context(), ref); !errors.Is(err, listwatch.ErrSilent) {
		t.Errorf("got %v, want that there was no answer", err)
	}
	lost.Store(false)
	requester.callLimit = time.Minute
	check(t, requester.Delete(t.Context(), ref))
}

// A request that was made while the watch is behind is one all the same: it goes
// before there is another. One that was refused does not have to.
func TestIssueDeletesRequestsThatTheWatchHasNotShown(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		refusal *metav1.Status
		want    []string // the calls before the second request
	}{
		"made":    {nil, []string{"POST first", "DELETE first"}},
		"refused": {&metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden}, []string{"POST first"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := make(chan string, 2)
			refuse := true
			a := newAPI(t, func(_ *api, request *cmapi.CertificateRequest) *metav1.Status {
				defer func() { refuse = false }()
				made <- request.Name
				if refuse {
					return row.refusal
				}
				return nil
			})
			requester := a.requester(t)
			ended := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			go func() { defer close(ended); _, _ = issue(ctx, requester, testOrder(t), new(Progress)) }()
			first := <-made
			if row.refusal == nil {
				cancel() // as when the volume is unpublished
			}
			<-ended
			cancel()
			ctx, cancel = context.WithCancel(t.Context())
			defer cancel()
			go func() { _, _ = issue(ctx, requester, testOrder(t), new(Progress)) }()
			second := <-made
			var calls []string
			for _, call := range a.noted() {
				if call, _, _ = strings.Cut(call, " by"); !strings.HasSuffix(call, second) {
					calls = append(calls, strings.ReplaceAll(call, first, "first"))
				}
			}
			if !slices.Equal(calls, row.want) {
				t.Errorf("before the second request: %q, want %q", calls, row.want)
			}
		})
	}
}
