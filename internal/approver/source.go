// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/typed/certmanager/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// How long after a failure the API server is asked again: doubling from one to
// the other. Every SVID of the cluster waits for this, so it is shorter than
// what client-go goes up to, which is a minute.
const (
	firstAsk = 200 * time.Millisecond
	lastAsk  = 5 * time.Second
)

// source keeps a view up to date by a watch.
type source struct {
	view     *view
	requests cmclient.CertificateRequestInterface
	log      *slog.Logger

	mu sync.Mutex
	// failure is why the watch does not work now, or nil, and since when.
	failure error
	since   time.Time
	// unselected is set when the API server has refused to select.
	unselected bool
}

// run watches until ctx ends.
func (s *source) run(ctx context.Context) {
	reflector := cache.NewReflectorWithOptions(
		&cache.ListWatch{ListWithContextFunc: s.list, WatchFuncWithContext: s.watch},
		&cmapi.CertificateRequest{}, s.view, cache.ReflectorOptions{Name: "approver", TypeDescription: "CertificateRequest"})
	_ = patience().Until(ctx, true, true, func(ctx context.Context) (done bool, err error) {
		// Why it ends is told by list and watch. Most often it is that the watch
		// has been closed for its age.
		_ = reflector.ListAndWatchWithContext(ctx)
		return false, nil
	})
}

// patience begins anew when there has been no failure for a while.
func patience() wait.DelayFunc {
	const steps = 20 // enough to get to lastAsk
	return wait.Backoff{Duration: firstAsk, Factor: 2, Jitter: 0.5, Steps: steps, Cap: lastAsk}.
		DelayWithReset(clock.RealClock{}, time.Minute)
}

// list returns requests of the scope, with others among them where the API
// server does not select. What need not be kept is dropped page by page.
func (s *source) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list, err := ask(ctx, s, options, s.requests.List)
	if err != nil {
		return nil, err
	}
	list.Items = slices.DeleteFunc(list.Items, func(request cmapi.CertificateRequest) bool { return !s.view.wants(&request) })
	return list, nil
}

func (s *source) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return ask(ctx, s, options, func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		w, err := s.requests.Watch(ctx, options)
		if err == nil && reflect.TypeOf(w) == reflect.TypeOf(watch.NewEmptyWatch()) {
			// client-go makes one up when connections end without an answer.
			return nil, errNoAnswer
		}
		return w, err
	})
}

// ask asks the API server, until it gets an answer that is not about the state
// that the server is in: then asking again would not help. Each time it asks for
// a selection first, for the server may be of a new version.
func ask[T any](ctx context.Context, s *source, options metav1.ListOptions, call func(context.Context, metav1.ListOptions) (T, error)) (answer T, err error) {
	selected := options
	selected.FieldSelector = s.view.scope.selector()
	_ = patience().Until(ctx, true, true, func(ctx context.Context) (done bool, _ error) {
		answer, err = call(ctx, selected)
		if selected.FieldSelector != "" && apierrors.IsBadRequest(err) {
			if answer, err = call(ctx, unselected(options)); err == nil {
				s.noteUnselected()
			}
		}
		s.note(ctx, err)
		return err == nil || !isPassing(err), nil
	})
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

// isPassing tells an error that is about the state of the API server, or of
// the way there, from its answer to what was asked.
func isPassing(err error) bool {
	if apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		return false // It looks like a time-out, but a reflector has to ask for another version.
	}
	var status apierrors.APIStatus
	return !errors.As(err, &status) || apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err)
}

// note remembers the outcome for [Approver.Ready], and logs it when it is
// another than before. What is left out is about the one call only: that a
// version is too old, or that this server cannot do it in this way.
func (s *source) note(ctx context.Context, err error) {
	isFailure := err != nil && (isPassing(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err))
	if ctx.Err() != nil || err != nil && !isFailure {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.failure
	s.failure = explainWatch(err)
	if before == nil {
		s.since = time.Now()
	}
	switch {
	case s.failure == nil && before != nil:
		s.log.Info("CertificateRequests are watched again", "issuer", s.view.scope.String())
	case s.failure != nil && (before == nil || before.Error() != s.failure.Error()):
		s.log.Error("CertificateRequests cannot be watched; it is tried again until it works", "issuer", s.view.scope.String(), "error", s.failure)
	}
}

// noteUnselected says once that the API server cannot select.
func (s *source) noteUnselected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.unselected {
		s.log.Warn("the API server cannot select CertificateRequests by issuer, so those of others are sent as well, and dropped here (cert-manager 1.18 or later on Kubernetes 1.32 or later can)",
			"issuer", s.view.scope.String())
	}
	s.unselected = true
}

// longFailure is how long a watch may fail before the replica is not ready. It
// goes on with what it has seen until then.
const longFailure = time.Minute

// ready returns nil when the view is that of the cluster.
func (s *source) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.view.hasSynced() && (s.failure == nil || time.Since(s.since) < longFailure):
		return nil
	case s.failure != nil:
		return s.failure
	default:
		return errNotSynced
	}
}
