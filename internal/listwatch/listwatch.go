// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package listwatch follows objects of the Kubernetes API for as long as a
// daemon runs, whatever becomes of the API server meanwhile. It is a reflector of
// client-go that asks again sooner: every pod that starts waits for what is
// followed here, and client-go goes up to a minute between two attempts. Use
// [Run], or, for what is not followed as long as that, [List] and [Watch].
package listwatch

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// How long after a failure the API server is asked again: doubling from one to
// the other, with jitter.
const (
	firstAsk = 200 * time.Millisecond
	lastAsk  = 5 * time.Second
)

// ErrNoAnswer is for when connections to the API server end before it has
// answered.
var ErrNoAnswer = errors.New("the API server, or what is in front of it, ends connections without an answer")

// Source is how objects are asked for.
type Source struct {
	List  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	Watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
	// Note is told the outcome of each call, nil among them; see [Health].
	Note func(context.Context, Call, error)
}

// Run keeps a store up to date, until ctx ends. The example is an object of the
// type that is followed, and name stands in what client-go logs.
func Run(ctx context.Context, name string, example runtime.Object, store cache.ReflectorStore, source Source) {
	source = source.Insisting()
	reflector := cache.NewReflectorWithOptions(
		&cache.ListWatch{ListWithContextFunc: source.List, WatchFuncWithContext: source.Watch},
		example, store, cache.ReflectorOptions{Name: name})
	_ = patience().Until(ctx, true, true, func(ctx context.Context) (done bool, err error) {
		// Why it ends is told by list and watch. Most often it is that the watch
		// has been closed for its age.
		_ = reflector.ListAndWatchWithContext(ctx)
		return false, nil
	})
}

// List fills a store with what there is, and is done with it: no change is followed.
// It returns when it has, or ctx ends.
func List(ctx context.Context, store cache.ReflectorStore, source Source) {
	source = source.Insisting()
	_ = patience().Until(ctx, true, true, func(ctx context.Context) (done bool, err error) {
		list, err := source.List(ctx, metav1.ListOptions{})
		return err == nil && fill(store, list) == nil, nil // what went wrong has been told
	})
}

func fill(store cache.ReflectorStore, list runtime.Object) error {
	objects, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	all := make([]any, len(objects))
	for i, object := range objects {
		all[i] = object
	}
	return store.Replace(all, "")
}

// Watch hands see the events of one watch after the other, until ctx ends. The
// first begins with what there is, and so does each that replaces one that has ended,
// of which lost is told: something may have been deleted in between.
func Watch(ctx context.Context, source Source, see func(watch.Event), lost func()) {
	source = source.Insisting()
	attempts := 0
	_ = patience().Until(ctx, true, true, func(ctx context.Context) (done bool, err error) {
		attempts++
		if w, err := source.Watch(ctx, metav1.ListOptions{ResourceVersion: "0"}); err == nil { // else it has been told
			defer w.Stop()
			if attempts > 1 {
				lost()
			}
			seeAll(ctx, w, see)
		}
		return false, nil
	})
}

func seeAll(ctx context.Context, w watch.Interface, see func(watch.Event)) {
	for {
		select {
		case event, more := <-w.ResultChan():
			if !more || event.Type == watch.Error {
				return
			}
			see(event)
		case <-ctx.Done():
			return
		}
	}
}

// patience begins anew when there has been no failure for a while.
func patience() wait.DelayFunc {
	const steps = 20 // enough to get to lastAsk
	return wait.Backoff{Duration: firstAsk, Factor: 2, Jitter: 0.5, Steps: steps, Cap: lastAsk}.
		DelayWithReset(clock.RealClock{}, time.Minute)
}

// Insisting returns a source that asks s again until it gets an answer which is
// not about the state that the API server is in: then asking again would not help.
func (s Source) Insisting() Source { return Source{List: s.list, Watch: s.watch, Note: s.Note} }

func (s Source) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	return ask(ctx, s, Listing, options, func(ctx context.Context, options metav1.ListOptions) (list runtime.Object, err error) {
		err = Within(ctx, LongestCall, func(ctx context.Context) (err error) {
			list, err = s.List(ctx, options)
			return err
		})
		return list, err
	})
}

func (s Source) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return ask(ctx, s, Watching, options, s.begin)
}

func ask[T any](ctx context.Context, s Source, name Call, options metav1.ListOptions, call func(context.Context, metav1.ListOptions) (T, error)) (answer T, err error) {
	_ = patience().Until(ctx, true, true, func(ctx context.Context) (done bool, _ error) {
		answer, err = call(ctx, options)
		s.Note(ctx, name, err)
		return err == nil || !IsPassing(err), nil
	})
	return answer, err
}

// IsPassing tells an error that is about the state of the API server, or of
// the way there, from its answer to what was asked.
func IsPassing(err error) bool {
	if apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		return false // It looks like a time-out, but a reflector has to ask for another version.
	}
	var status apierrors.APIStatus
	return !errors.As(err, &status) || apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err)
}

// IsFailure tells an error for which nothing can be followed now from one that is
// about a single call: that a version is too old, or that this server cannot do
// it in this way.
func IsFailure(err error) bool {
	return err != nil && (IsPassing(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err))
}

// LongestCall is after how long without an answer a call is given up. The API server
// itself answers within a minute (its --request-timeout); what is in front of it may
// lose a call and keep the connection, and nobody else would ever notice.
const LongestCall = 70 * time.Second

// ErrSilent is for a call that has been given up.
var ErrSilent = errors.New("the API server, or what is in front of it, has not answered")

// Within makes one call of the API, and gives it up with [ErrSilent] when there is
// no answer within the limit. It may have been carried out all the same.
func Within(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := call(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return fmt.Errorf("%w within %s: %w", ErrSilent, limit, err)
	}
	return err
}

// begin opens a watch, and gives that up when there is no answer. A watch that is open
// may be silent for as long as nothing happens.
func (s Source) begin(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(LongestCall, func() { cancel(ErrSilent) })
	w, err := s.Watch(ctx, options)
	late.Stop()
	switch {
	case err != nil && errors.Is(context.Cause(ctx), ErrSilent):
		err = fmt.Errorf("%w within %s: %w", ErrSilent, LongestCall, err)
	case err == nil && reflect.TypeOf(w) == reflect.TypeOf(watch.NewEmptyWatch()):
		err = ErrNoAnswer // client-go makes one up when connections end without an answer
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return begun{w, func() { cancel(nil) }}, nil
}

// begun is a watch with the context that it was opened in.
type begun struct {
	watch.Interface
	end func()
}

// Stop ends both.
func (b begun) Stop() {
	b.Interface.Stop()
	b.end()
}

// Call is one of the two that a [Source] makes.
type Call int

// The calls.
const (
	Listing Call = iota
	Watching
)

// Health remembers of a [Source] why nothing can be followed. A reflector that is
// refused tries both calls in turn: each has an outcome of its own, so that people
// are not told the one and the other without end. The zero value is ready for use.
type Health struct{ listing, watching error }

// Note takes the outcome of a call, as [Source].Note is told it, and reports whether
// it is a failure that is not the one of before.
func (h *Health) Note(call Call, err error) (news bool) {
	if err != nil && !IsFailure(err) {
		return false
	}
	of := &h.listing
	if call == Watching {
		of = &h.watching
		if err == nil { // a watch begins with what there is, and needs no list
			h.listing = nil
		}
	}
	before := *of
	*of = err
	return err != nil && (before == nil || withoutURL(before) != withoutURL(err))
}

// Err is why nothing can be followed now, or nil.
func (h *Health) Err() error {
	if h.listing != nil {
		return h.listing
	}
	return h.watching
}

// withoutURL is the text of an error without what differs from call to call.
func withoutURL(err error) string {
	var call *url.Error
	if errors.As(err, &call) {
		err = call.Err
	}
	return err.Error()
}
