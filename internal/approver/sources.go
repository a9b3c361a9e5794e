// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/listwatch"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// sources are the watches that run now. Which are needed changes with the
// configuration.
type sources struct {
	undecided *undecidedRequests
	requests  requests
	log       *slog.Logger

	mu      sync.Mutex
	running map[scope]runningSource
	ending  sync.WaitGroup
}

type runningSource struct {
	*source
	stop context.CancelFunc
}

// set starts the sources that are needed and not there, and ends those that are
// not needed any more.
func (s *sources) set(ctx context.Context, needed []scope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, scope := range needed {
		if _, ok := s.running[scope]; !ok {
			s.start(ctx, scope)
		}
	}
	for scope, running := range s.running {
		if !slices.Contains(needed, scope) {
			s.log.Info("CertificateRequests are no longer watched", "issuer", scope.String())
			running.stop()
			s.undecided.closeStore(running.store)
			delete(s.running, scope)
		}
	}
}

func (s *sources) start(ctx context.Context, scope scope) {
	ctx, stop := context.WithCancel(ctx)
	started := runningSource{&source{store: s.undecided.openStore(scope), requests: s.requests, log: s.log, heard: time.Now()}, stop}
	s.running[scope] = started
	s.log.Info("CertificateRequests are watched from now on", "issuer", scope.String())
	s.ending.Go(func() { started.run(ctx) })
}

// ready returns nil when what all of them have found is there.
func (s *sources) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) == 0 {
		return errNotSynced
	}
	for _, running := range s.running {
		if err := running.ready(); err != nil {
			return err
		}
	}
	return nil
}

// alive returns nil if the goroutine of each watch is there and at work.
func (s *sources) alive(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for scope, running := range s.running {
		ended, heard := running.life()
		switch silent := now.Sub(heard); {
		case ended:
			return fmt.Errorf("%w: that for %s has ended", errWatchDead, scope)
		case silent > silentAfter:
			return fmt.Errorf("%w: no list or watch for %s has had an outcome for %s", errWatchDead, scope, silent.Round(time.Second))
		}
	}
	return nil
}

// requests are the CertificateRequests of the API server, as *certrequest.Client reads them.
type requests interface {
	List(ctx context.Context, namespace string, options metav1.ListOptions, keep func(*cmapi.CertificateRequest) runtime.Object) (*certrequest.List, error)
	Watch(ctx context.Context, namespace string, options metav1.ListOptions) (watch.Interface, error)
}

// source keeps a store up to date by a watch.
type source struct {
	store    *watchStore
	requests requests
	log      *slog.Logger

	mu sync.Mutex
	// health is whether the watch works, or why not, and since is since when it does not.
	health listwatch.Health
	since  time.Time
	// heard is when a call last had an outcome, and ended is set when there will be
	// no more though there should be.
	heard time.Time
	ended bool
	// unselected is set when the API server has refused to select.
	unselected bool
}

// run watches until ctx ends.
func (s *source) run(ctx context.Context) {
	listwatch.Run(ctx, "approver", &cmapi.CertificateRequest{}, s.store, s.asks())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = ctx.Err() == nil
}

// life reports whether the watch has ended though it should not have, and when a
// call last had an outcome.
func (s *source) life() (ended bool, heard time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended, s.heard
}

func (s *source) asks() listwatch.Source {
	return listwatch.Source{List: s.list, Watch: s.watch, Note: s.note}
}

// list returns requests of the scope. Those that need not be kept are dropped one by one as they
// arrive: where the API server does not select, those of others are among them.
func (s *source) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	return selecting(ctx, s, options, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		list, err := s.requests.List(ctx, "", options, s.store.keep)
		if err != nil {
			return nil, err // not a *certrequest.List that is nil
		}
		return list, nil
	})
}

func (s *source) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return selecting(ctx, s, options, func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		return s.requests.Watch(ctx, "", options)
	})
}

// selecting asks for a selection, and for all where the API server cannot select.
// Each time it asks for the selection first, for the server may be of a new
// version.
func selecting[T any](ctx context.Context, s *source, options metav1.ListOptions, call func(context.Context, metav1.ListOptions) (T, error)) (answer T, err error) {
	selected := options
	selected.FieldSelector = s.store.scope.selector()
	answer, err = call(ctx, selected)
	if selected.FieldSelector != "" && apierrors.IsBadRequest(err) {
		if answer, err = call(ctx, unselected(options)); err == nil {
			s.noteUnselected()
		}
	}
	return answer, err
}

// unselected are the options for all requests. A list comes in pages then, which
// it does not if it is from the cache of the API server, where version 0 has it
// come from.
func unselected(options metav1.ListOptions) metav1.ListOptions {
	if options.Limit > 0 && options.ResourceVersion == "0" {
		options.ResourceVersion, options.ResourceVersionMatch = "", ""
	}
	return options
}

// note remembers the outcome for [Approver.Ready], and logs it when it is
// another than before.
func (s *source) note(ctx context.Context, call listwatch.Call, err error) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = time.Now()
	before := s.health.Err()
	if before == nil {
		s.since = time.Now()
	}
	switch news := s.health.Note(call, err); {
	case news:
		s.log.Error("CertificateRequests cannot be watched; it is tried again until it works", "issuer", s.store.scope.String(), "error", explainWatch(err))
	case before != nil && s.health.Err() == nil:
		s.log.Info("CertificateRequests are watched again", "issuer", s.store.scope.String())
	}
}

// noteUnselected says once that the API server cannot select.
func (s *source) noteUnselected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.unselected {
		s.log.Warn("the API server cannot select CertificateRequests by issuer, so those of others are sent as well, and dropped here (cert-manager 1.18 or later on Kubernetes 1.32 or later can)",
			"issuer", s.store.scope.String())
	}
	s.unselected = true
}

// longFailure is how long a watch may fail before the replica is not ready. It
// goes on with what it has seen until then.
const longFailure = time.Minute

// ready returns nil when the store is that of the cluster.
func (s *source) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch failure := s.health.Err(); {
	case s.store.hasSynced() && (failure == nil || time.Since(s.since) < longFailure):
		return nil
	case failure != nil:
		return explainWatch(failure)
	default:
		return errNotSynced
	}
}

// scope says which requests a watch is for: those for one issuer or, if that is
// zero, those for any.
type scope struct {
	issuer policy.IssuerRef
	// generation tells one watch on the requests for any issuer from the next.
	generation int
}

func (s scope) isAny() bool { return s.issuer == policy.IssuerRef{} }

func (s scope) includes(ref cmmeta.IssuerReference) bool {
	return s.isAny() || s.issuer.Names(ref)
}

func (s scope) String() string {
	if s.isAny() {
		return "all issuers"
	}
	return s.issuer.String()
}

// selector has the API server leave out the requests of other issuers, by the
// selectable fields of the CustomResourceDefinition (cert-manager from 1.18 on,
// Kubernetes from 1.32 on). It may let more through than the scope includes:
// a kind or group may be left out in a request for its default, and a selector
// can ask for one value only.
func (s scope) selector() string {
	if s.isAny() {
		return ""
	}
	const name, kind, group = "spec.issuerRef.name", "spec.issuerRef.kind", "spec.issuerRef.group"
	terms := []fields.Selector{fields.OneTermEqualSelector(name, s.issuer.Name)}
	if s.issuer.Kind == "" || s.issuer.Kind == cmapi.IssuerKind {
		terms = append(terms, fields.OneTermNotEqualSelector(kind, cmapi.ClusterIssuerKind))
	} else {
		terms = append(terms, fields.OneTermEqualSelector(kind, s.issuer.Kind))
	}
	if s.issuer.Group != "" && s.issuer.Group != certmanager.GroupName {
		terms = append(terms, fields.OneTermEqualSelector(group, s.issuer.Group))
	}
	return fields.AndSelectors(terms...).String()
}
