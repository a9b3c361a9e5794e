// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
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
	document, err := issue(t.Context(), requester, order, new(Progress))
	check(t, err)
	if document.X509.ID.String() != identity || document.Policy != order.Policy {
		t.Errorf("a document of %s under %s", document.X509.ID, document.Policy.Hash())
	}
	if document.Request != (types.NamespacedName{Namespace: "sandbox", Name: asked.Name}) {
		t.Errorf("from request %s, created was %s", document.Request, asked.Name)
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
	document, err := issue(t.Context(), requester, order, new(Progress))
	check(t, err)
	if want := []string{"metadata.name=" + document.Request.Name}; !slices.Equal(a.selects, want) {
		t.Errorf("watched %q, want %q", a.selects, want)
	}
	if known := requester.OfVolume(order.VolumeID, web0()); len(known) != 1 || known[0].Request != document.Request || !known[0].Issued {
		t.Errorf("known of the volume: %+v", known)
	}
	check(t, requester.Delete(t.Context(), Ref{Name: document.Request, Pod: web0()}))
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

func TestIssueSaysWhyThereIsNoDocument(t *testing.T) {
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
			document, err := issue(t.Context(), newAPI(t, row.created).requester(t), testOrder(t), new(Progress))
			var issue *Error
			if document != nil || !errors.As(err, &issue) || !row.is(err) {
				t.Fatalf("got %v, %v", document, err)
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
