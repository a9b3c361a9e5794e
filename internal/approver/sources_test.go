// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/listwatch"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

func certificateRequests() schema.GroupResource {
	return schema.GroupResource{Group: "cert-manager.io", Resource: "certificaterequests"}
}

func tooLarge() error {
	err := apierrors.NewTimeoutError("Too large resource version: 1000000, current: 7", 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

// answers stands in for the API server's answers to list and watch, in turn. The
// real ones are in package integration.
type answers struct {
	errs  []error
	asked []metav1.ListOptions
}

func (a *answers) next(options metav1.ListOptions) error {
	a.asked = append(a.asked, options)
	if n := len(a.asked); n <= len(a.errs) {
		return a.errs[n-1]
	}
	return nil
}

func (a *answers) List(_ context.Context, _ string, options metav1.ListOptions, keep func(*cmapi.CertificateRequest) runtime.Object) (*certrequest.List, error) {
	if err := a.next(options); err != nil {
		return nil, err
	}
	list := &certrequest.List{}
	for _, request := range []*cmapi.CertificateRequest{named("ours", "ca"), named("theirs", "other"), decidedNow(named("old", "ca"))} {
		if kept := keep(request); kept != nil {
			list.Items = append(list.Items, kept)
		}
	}
	return list, nil
}

func (a *answers) Watch(_ context.Context, _ string, options metav1.ListOptions) (watch.Interface, error) {
	if err := a.next(options); errors.Is(err, listwatch.ErrNoAnswer) {
		return watch.NewEmptyWatch(), nil
	} else if err != nil {
		return nil, err
	}
	return watch.NewFake(), nil
}

func newSource(t *testing.T, errs ...error) (*source, *answers, *strings.Builder) {
	t.Helper()
	a, log := &answers{errs: errs}, &strings.Builder{}
	return &source{store: newUndecidedRequests(ours().includes).openStore(ours()), requests: a, log: slog.New(slog.NewTextHandler(log, nil))}, a, log
}

func TestSourceListsWhatIsWanted(t *testing.T) {
	t.Parallel()
	s, a, log := newSource(t, errors.New("connection refused"), apierrors.NewServiceUnavailable("starting"))
	list, err := s.asks().Insisting().List(t.Context(), metav1.ListOptions{Limit: 500, ResourceVersion: "0"})
	check(t, err)
	if items := list.(*certrequest.List).Items; len(items) != 1 || items[0].(trimmed).Name != "ours" {
		t.Errorf("%d items", len(items))
	}
	for _, options := range a.asked {
		if options.FieldSelector != "spec.issuerRef.name=ca,spec.issuerRef.kind=ClusterIssuer" || options.ResourceVersion != "0" {
			t.Errorf("asked for %+v", options)
		}
	}
	if len(a.asked) != 3 || strings.Count(log.String(), "cannot be watched") != 2 || !strings.Contains(log.String(), "watched again") {
		t.Errorf("asked %d times: %s", len(a.asked), log)
	}
}

// An old server does not select; then requests come in pages, which they do not
// from its cache.
func TestSourceFallsBack(t *testing.T) {
	t.Parallel()
	refusal := &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusBadRequest, Reason: metav1.StatusReasonBadRequest, Message: "field label not supported: spec.issuerRef.name"}}
	s, a, log := newSource(t, refusal, nil, refusal, nil)
	for range 2 {
		_, err := s.asks().Insisting().List(t.Context(), metav1.ListOptions{Limit: 500, ResourceVersion: "0"})
		check(t, err)
	}
	got := make([]string, len(a.asked))
	for i, options := range a.asked {
		got[i] = options.FieldSelector + "@" + options.ResourceVersion
	}
	const selector = "spec.issuerRef.name=ca,spec.issuerRef.kind=ClusterIssuer@0"
	if want := []string{selector, "@", selector, "@"}; !slices.Equal(got, want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
	if n := strings.Count(log.String(), "cannot select CertificateRequests"); n != 1 {
		t.Errorf("told %d times, want once: %s", n, log)
	}
}

// What a reflector has to act upon gets to it at once.
func TestSourceHandsAnswersOn(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		err   error
		is    func(error) bool
		ready error
	}{
		{"version too large", tooLarge(), apierrors.IsTimeout, errNotSynced},
		{"version too old", apierrors.NewResourceExpired("x"), apierrors.IsResourceExpired, errNotSynced},
		{"forbidden", apierrors.NewForbidden(certificateRequests(), "", errors.New("x")), apierrors.IsForbidden, errMayNotWatch},
		{"no such resource", apierrors.NewNotFound(certificateRequests(), ""), apierrors.IsNotFound, errNoCRDs},
	} {
		s, a, _ := newSource(t, row.err)
		if _, err := s.asks().Insisting().Watch(t.Context(), metav1.ListOptions{ResourceVersion: "7"}); !row.is(err) || len(a.asked) != 1 {
			t.Errorf("%s: %v after asking %d times", row.name, err, len(a.asked))
		}
		if err := s.ready(); !errors.Is(err, row.ready) {
			t.Errorf("%s: ready: %v, want %v", row.name, err, row.ready)
		}
	}
}

// client-go makes up a watch that has ended when there was no answer.
func TestSourceTellsNoAnswer(t *testing.T) {
	t.Parallel()
	s, a, log := newSource(t, listwatch.ErrNoAnswer)
	w, err := s.asks().Insisting().Watch(t.Context(), metav1.ListOptions{})
	check(t, err)
	w.Stop()
	if len(a.asked) != 2 || !strings.Contains(log.String(), listwatch.ErrNoAnswer.Error()) {
		t.Errorf("asked %d times: %s", len(a.asked), log)
	}
}

// The API server selects by one value of a field, while a request may leave out
// what has a default: a selector must let through all that the scope includes.
func TestSelector(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		ref  policy.IssuerRef
		want string
	}{
		{"ClusterIssuer", policy.IssuerRef{Name: "ca", Kind: "ClusterIssuer", Group: "cert-manager.io"}, "spec.issuerRef.name=ca,spec.issuerRef.kind=ClusterIssuer"},
		{"Issuer, which a request may leave out", policy.IssuerRef{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"}, "spec.issuerRef.name=ca,spec.issuerRef.kind!=ClusterIssuer"},
		{"external", policy.IssuerRef{Name: "ca", Kind: "VaultIssuer", Group: "example.org"}, "spec.issuerRef.name=ca,spec.issuerRef.kind=VaultIssuer,spec.issuerRef.group=example.org"},
		{"any", policy.IssuerRef{}, ""},
	} {
		if got := (scope{issuer: row.ref}).selector(); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestScopeIncludes(t *testing.T) {
	t.Parallel()
	issuer := scope{issuer: policy.IssuerRef{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"}}
	for _, row := range []struct {
		name  string
		scope scope
		ref   cmmeta.IssuerReference
		want  bool
	}{
		{"spelt out", issuer, cmmeta.IssuerReference{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"}, true},
		{"with defaults", issuer, cmmeta.IssuerReference{Name: "ca"}, true},
		{"another name", issuer, cmmeta.IssuerReference{Name: "cb"}, false},
		{"another kind", issuer, cmmeta.IssuerReference{Name: "ca", Kind: "ClusterIssuer"}, false},
		{"another group", issuer, cmmeta.IssuerReference{Name: "ca", Group: "example.org"}, false},
		{"any", scope{}, cmmeta.IssuerReference{Name: "cb", Kind: "x", Group: "y"}, true},
	} {
		if got := row.scope.includes(row.ref); got != row.want {
			t.Errorf("%s: %t, want %t", row.name, got, row.want)
		}
	}
}

// The issuers of earlier policies are watched for as long as those are honoured.
func TestScopesFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	start := time.Now()
	a := policy.Policy{IssuerRef: policy.IssuerRef{Name: "a", Kind: "ClusterIssuer", Group: "cert-manager.io"}, Duration: 1}
	b := a
	b.IssuerRef.Name = "b"
	var r rollout
	expect := func(step string, now time.Time, until time.Time, want ...scope) {
		t.Helper()
		got, ends := r.scopes(now)
		if len(got) != len(want) || !ends.Equal(until) {
			t.Fatalf("%s: %v until %v, want %v until %v", step, got, ends, want, until)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: %v, want %v", step, got, want)
			}
		}
	}
	r.change(a, policy.Others{Approve: false}, start, time.Minute)
	expect("at first", start, time.Time{}, scope{issuer: a.IssuerRef})
	r.change(b, policy.Others{Approve: false}, start, time.Minute)
	expect("after a change", start, start.Add(time.Minute), scope{issuer: a.IssuerRef}, scope{issuer: b.IssuerRef})
	r.change(b, policy.Others{Approve: true}, start, time.Minute)
	expect("with others", start, start.Add(time.Minute), scope{generation: 3})
	r.change(b, policy.Others{Approve: false}, start, time.Minute)
	expect("after the grace period", start.Add(time.Minute), time.Time{}, scope{issuer: b.IssuerRef})
}
