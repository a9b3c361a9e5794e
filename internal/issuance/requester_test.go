// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/listwatch"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// signWith returns what an issuer makes of a request.
func signWith(t *testing.T, issuer fakeIssuer, request *cmapi.CertificateRequest) *cmapi.CertificateRequest {
	t.Helper()
	parsed, err := csr.Parse(request.Spec.Request)
	if err != nil {
		t.Error(err)
		return request
	}
	request = request.DeepCopy()
	request.Status.Certificate = []byte(issuer.sign(t, leaf(parsed.ID.String()), parsed.PublicKey))
	request.Status.Conditions = []cmapi.CertificateRequestCondition{
		set(cmapi.CertificateRequestConditionApproved, cmmeta.ConditionTrue, "", ""),
		set(cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, ""),
	}
	return request
}

func TestIssue(t *testing.T) {
	t.Parallel()
	issuer, order := newFakeIssuer(t), testOrder(t)
	var asked *cmapi.CertificateRequest
	a := newAPI(t, func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
		asked = request.DeepCopy()
		// Told before the creation is answered, as happens.
		a.send("ADDED", request)
		a.send("MODIFIED", signWith(t, issuer, request))
		return nil
	})
	requester := a.requester(t)
	svid, err := issue(t.Context(), requester, order, new(Progress))
	check(t, err)
	if svid.X509.ID.String() != identity || svid.Policy != order.Policy {
		t.Errorf("an SVID of %s under %s", svid.X509.ID, svid.Policy.Hash())
	}
	if svid.Request != (types.NamespacedName{Namespace: "sandbox", Name: asked.Name}) {
		t.Errorf("from request %s, created was %s", svid.Request, asked.Name)
	}
	if calls := a.noted(); !slices.Equal(calls, []string{"POST " + asked.Name + " by Bearer pod"}) {
		t.Errorf("calls: %q", calls)
	}
	check(t, requester.Ready())
	if want := []string{LabelNode + "=worker-1,!" + LabelDriver}; !slices.Equal(slices.Compact(a.selects), want) {
		t.Errorf("watched %q, want %q", a.selects, want)
	}
	mustBeAsOrdered(t, asked, order)
}

// issue makes a new request for an order, and waits for it.
func issue(ctx context.Context, r *Requester, order Order, progress *Progress) (*SVID, error) {
	pending, err := order.Prepare()
	if err != nil {
		return nil, err
	}
	return r.Issue(ctx, order, pending, progress)
}

func mustBeAsOrdered(t *testing.T, asked *cmapi.CertificateRequest, order Order) {
	t.Helper()
	// As the webhook fills it in.
	account := order.Pod.ServiceAccount
	asked.Spec.Username, asked.Spec.Groups = account.Username(), []string{"system:serviceaccounts", "system:serviceaccounts:" + account.Namespace()}
	asked.Spec.Extra = map[string][]string{policy.ExtraPodName: {order.Pod.PodName}, policy.ExtraPodUID: {order.Pod.PodUID}}
	if decision := policy.Evaluate(order.Policy, asked); decision.Verdict != policy.Approve {
		t.Errorf("the policy says %s: %s", decision.Verdict, decision.Message())
	}
	if asked.Labels[LabelNode] != order.Owner.Node || asked.Labels[LabelVolume] != order.VolumeID {
		t.Errorf("labels %v", asked.Labels)
	}
	if asked.Annotations[AnnotationIdentity] != identity || asked.Annotations["example.com/team"] != "blue" {
		t.Errorf("annotations %v", asked.Annotations)
	}
	want := metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: "web-0", UID: "c2f0f7a1"}
	if len(asked.OwnerReferences) != 1 || asked.OwnerReferences[0] != want {
		t.Errorf("owners %+v, want %+v", asked.OwnerReferences, want)
	}
}

// Nothing is kept of a request that was deleted, though no watch tells.
func TestIssueByAWatchOnTheRequest(t *testing.T) {
	t.Parallel()
	issuer := newFakeIssuer(t)
	a := newAPI(t, func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
		a.send("ADDED", signWith(t, issuer, request))
		return nil
	})
	requester, order := a.requesterWatching(t, WatchRequest), testOrder(t)
	svid, err := issue(t.Context(), requester, order, new(Progress))
	check(t, err)
	if want := []string{"metadata.name=" + svid.Request.Name}; !slices.Equal(a.selects, want) {
		t.Errorf("watched %q, want %q", a.selects, want)
	}
	if known := requester.OfVolume(order.VolumeID, web0()); len(known) != 1 || known[0].Request != svid.Request || !known[0].Issued {
		t.Errorf("known of the volume: %+v", known)
	}
	check(t, requester.Delete(t.Context(), Ref{Name: svid.Request, Pod: web0()}))
	if known := requester.OfVolume(order.VolumeID, web0()); len(known) != 0 {
		t.Errorf("known of the volume after the deletion: %+v", known)
	}
}

func TestIssueMakesAnotherKeyEachTime(t *testing.T) {
	t.Parallel()
	issuer := newFakeIssuer(t)
	a := newAPI(t, func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
		a.send("ADDED", signWith(t, issuer, request))
		return nil
	})
	requester := a.requester(t)
	one, err := issue(t.Context(), requester, testOrder(t), new(Progress))
	check(t, err)
	two, err := issue(t.Context(), requester, testOrder(t), new(Progress))
	check(t, err)
	_, first, err := one.Marshal()
	check(t, err)
	_, second, err := two.Marshal()
	check(t, err)
	if bytes.Equal(first, second) || one.Request == two.Request {
		t.Errorf("the same key, or the same request: %s and %s", one.Request, two.Request)
	}
}

func TestIssueSaysWhyThereIsNoSVID(t *testing.T) {
	t.Parallel()
	with := func(a *api, request *cmapi.CertificateRequest, kind cmapi.CertificateRequestConditionType, reason string) {
		request = request.DeepCopy()
		status := cmmeta.ConditionTrue
		if kind == cmapi.CertificateRequestConditionReady {
			status = cmmeta.ConditionFalse
		}
		request.Status.Conditions = []cmapi.CertificateRequestCondition{set(kind, status, reason, "why not")}
		a.send("MODIFIED", request)
	}
	for _, row := range []struct {
		name    string
		created func(*api, *cmapi.CertificateRequest) *metav1.Status
		stage   Stage
		is      func(error) bool
	}{
		{"denied", func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
			a.send("ADDED", request)
			with(a, request, cmapi.CertificateRequestConditionDenied, "policy")
			return nil
		}, StageApprove, func(err error) bool { return errors.Is(err, ErrDenied) && strings.Contains(err.Error(), "why not") }},
		{"failed", func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
			with(a, request, cmapi.CertificateRequestConditionReady, cmapi.CertificateRequestReasonFailed)
			return nil
		}, StageSign, func(err error) bool { return errors.Is(err, ErrFailed) }},
		{"deleted", func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
			a.send("ADDED", request)
			a.send("DELETED", request)
			return nil
		}, StageApprove, func(err error) bool { return errors.Is(err, ErrDeleted) }},
		{"deleted, and kept by a finalizer", func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
			a.send("ADDED", request)
			request = request.DeepCopy()
			request.DeletionTimestamp, request.Finalizers = &metav1.Time{Time: time.Now()}, []string{"example.com/keep"}
			a.send("MODIFIED", request)
			return nil
		}, StageApprove, func(err error) bool { return errors.Is(err, ErrDeleted) }},
		{"signed for somebody else", func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
			issuer, other := newFakeIssuer(t), newKey(t)
			wrong := signWith(t, issuer, request)
			wrong.Status.Certificate = []byte(issuer.sign(t, leaf(identity), other.Public()))
			a.send("ADDED", wrong)
			return nil
		}, StageVerify, func(err error) bool { return errors.Is(err, ErrBadCertificate) }},
		{"forbidden", func(*api, *cmapi.CertificateRequest) *metav1.Status {
			return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: "no"}
		}, StageCreate, apierrors.IsForbidden},
		{"token refused", func(*api, *cmapi.CertificateRequest) *metav1.Status {
			return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnauthorized, Reason: metav1.StatusReasonUnauthorized}
		}, StageCreate, apierrors.IsUnauthorized},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			svid, err := issue(t.Context(), newAPI(t, row.created).requester(t), testOrder(t), new(Progress))
			var issue *Error
			if svid != nil || !errors.As(err, &issue) || !row.is(err) {
				t.Fatalf("got %v, %v", svid, err)
			}
			if issue.Stage != row.stage || issue.Request.Namespace != "sandbox" || !strings.HasPrefix(issue.Request.Name, "web-0-") {
				t.Errorf("stage %q of %s, want %q of sandbox/web-0-…", issue.Stage, issue.Request, row.stage)
			}
			if strings.Contains(err.Error(), "Bearer") {
				t.Errorf("the error quotes the token: %v", err)
			}
		})
	}
}

func TestIssueEndsWithItsContextAndSaysWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	gone := errors.New("the pod is gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	a := newAPI(t, func(*api, *cmapi.CertificateRequest) *metav1.Status {
		cancel(gone)
		return nil
	})
	var progress Progress
	_, err := issue(ctx, a.requester(t), testOrder(t), &progress)
	var issue *Error
	if !errors.As(err, &issue) || issue.Stage != StageCreate && issue.Stage != StageApprove {
		t.Errorf("got %v", err)
	}
	if issue.Stage == StageApprove && (!errors.Is(err, gone) || !errors.Is(err, errNotSeen)) {
		t.Errorf("got %v, want the cause and what was waited for", err)
	}
}

// Who waits while the API server is away is told that, not only that time is up.
func TestIssueWithoutAnAPIServer(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	a.Close()
	requester := a.requester(t)
	if err := requester.Ready(); !errors.Is(err, errNotSynced) {
		t.Errorf("Ready() = %v, want errNotSynced", err)
	}
	gone := errors.New("the pod is gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	var progress Progress
	ended := make(chan error)
	go func() { _, err := issue(ctx, requester, testOrder(t), &progress); ended <- err }()
	// Not as it was when it began to wait, but as it is.
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(progress.Err(gone).Error(), "connection refused"); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("who waits is told %q", progress.Err(gone))
		}
	}
	cancel(gone)
	var issue *Error
	if err := <-ended; !errors.Is(err, errNotSynced) || !errors.Is(err, gone) || !errors.As(err, &issue) || issue.Stage != StagePrepare {
		t.Errorf("got %v", err)
	}
}

func TestIssueRefusesAPolicyThatIsNotWhole(t *testing.T) {
	t.Parallel()
	order := testOrder(t)
	order.Policy.Key.Size = 192
	a := newAPI(t, nil)
	_, err := issue(t.Context(), a.requester(t), order, new(Progress))
	var issue *Error
	if !errors.As(err, &issue) || issue.Stage != StagePrepare {
		t.Errorf("got %v", err)
	}
}

// Before a request is made, open ones of the volume go. Anybody may make one with
// its label in a namespace of his own, and does not hold the volume up by that.
func TestIssueDeletesOtherRequestsOfTheVolume(t *testing.T) {
	t.Parallel()
	issuer, order := newFakeIssuer(t), testOrder(t)
	a := newAPI(t, func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
		a.send("ADDED", signWith(t, issuer, request))
		return nil
	})
	requester, err := NewRequester(&rest.Config{Host: a.URL, BearerToken: "driver", QPS: -1}, Owner{Node: "worker-1"}, WatchNode, slog.New(slog.DiscardHandler))
	check(t, err)
	seen := make(chan struct{}, 3)
	requester.OnNew(func(Known, string) { seen <- struct{}{} })
	requester.Start(t.Context())
	foreign := requestNamed("of-somebody-else", order.VolumeID)
	foreign.Namespace = "hostile"
	admit(foreign)
	a.send("ADDED", requestNamed("of-an-earlier-process", order.VolumeID))
	a.send("ADDED", foreign)
	<-seen
	<-seen
	_, err = issue(t.Context(), requester, order, new(Progress))
	check(t, err)
	var deleted []string
	for _, call := range a.noted() {
		if strings.HasPrefix(call, http.MethodDelete) {
			deleted = append(deleted, call)
		}
	}
	if want := []string{"DELETE of-an-earlier-process by Bearer driver"}; !slices.Equal(deleted, want) {
		t.Errorf("deleted %q, want %q", deleted, want)
	}
}

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
