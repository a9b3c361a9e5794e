// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package listwatch_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/listwatch"
)

func certificateRequests() schema.GroupResource {
	return schema.GroupResource{Group: "cert-manager.io", Resource: "certificaterequests"}
}

func tooLarge() error {
	err := apierrors.NewTimeoutError("Too large resource version: 1000000, current: 7", 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

// What asking again may mend is asked again; what the caller has to know is not.
func TestIsPassing(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		err  error
		want bool
	}{
		{"connection refused", errors.New("dial tcp: connection refused"), true},
		{"no answer", listwatch.ErrNoAnswer, true},
		{"too many requests", apierrors.NewTooManyRequests("", 1), true},
		{"internal error", apierrors.NewInternalError(errors.New("etcd")), true},
		{"unavailable", apierrors.NewServiceUnavailable("starting"), true},
		{"time-out", apierrors.NewTimeoutError("x", 1), true},
		{"version too large", tooLarge(), false},
		{"version too old", apierrors.NewResourceExpired("x"), false},
		{"forbidden", apierrors.NewForbidden(certificateRequests(), "", errors.New("x")), false},
		{"not there", apierrors.NewNotFound(certificateRequests(), ""), false},
		{"bad request", apierrors.NewBadRequest("x"), false},
	} {
		if got := listwatch.IsPassing(row.err); got != row.want {
			t.Errorf("%s: %t, want %t", row.name, got, row.want)
		}
	}
}

// Calls that something on the way has lost are made again; a watch that is open may
// be silent.
func TestCallsWithoutAnAnswerAreMadeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		noted, calls := map[listwatch.Call][]error{}, 0
		lost := func(ctx context.Context) error {
			calls++
			if calls%2 == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		ended := func() bool { return true }
		fake := watch.NewFake()
		source := listwatch.Source{
			List: func(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
				return &metav1.PartialObjectMetadataList{}, lost(ctx)
			},
			Watch: func(ctx context.Context, _ metav1.ListOptions) (watch.Interface, error) {
				ended = func() bool { return ctx.Err() != nil }
				return fake, lost(ctx)
			},
			Note: func(_ context.Context, call listwatch.Call, err error) { noted[call] = append(noted[call], err) },
		}.Insisting()
		list, err := source.List(t.Context(), metav1.ListOptions{})
		if list == nil || err != nil {
			t.Errorf("listing: %v, %v", list, err)
		}
		w, err := source.Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for call, errs := range noted {
			if len(errs) != 2 || !errors.Is(errs[0], listwatch.ErrSilent) || errs[1] != nil {
				t.Errorf("call %d was noted as %v", call, errs)
			}
		}
		time.Sleep(time.Hour)
		if ended() {
			t.Error("a watch that was open has been given up")
		}
		w.Stop()
		if !ended() || !fake.IsStopped() {
			t.Error("a watch that was stopped goes on")
		}
	})
}

// What is told is what was not told before, whichever call it is of; and nothing is
// well while one of the two is refused.
func TestHealth(t *testing.T) {
	t.Parallel()
	type outcome struct {
		call listwatch.Call
		err  error
		news bool  // whether it is told
		want error // what there is then
	}
	const list, watch = listwatch.Listing, listwatch.Watching
	mayNotList := apierrors.NewForbidden(certificateRequests(), "", errors.New("cannot list"))
	mayNotWatch := apierrors.NewForbidden(certificateRequests(), "", errors.New("cannot watch"))
	away := func(at string) error { return &url.Error{Op: "Get", URL: at, Err: errors.New("connection refused")} }
	first, second := away("https://api/x?timeoutSeconds=301"), away("https://api/x?timeoutSeconds=302")
	for name, outcomes := range map[string][]outcome{
		"both are refused, again and again": {
			{watch, mayNotWatch, true, mayNotWatch},
			{list, mayNotList, true, mayNotList},
			{watch, mayNotWatch, false, mayNotList},
			{list, mayNotList, false, mayNotList},
			{watch, nil, false, nil},
		},
		"only watching is refused": {
			{watch, mayNotWatch, true, mayNotWatch},
			{list, nil, false, mayNotWatch},
			{watch, mayNotWatch, false, mayNotWatch},
			{list, nil, false, mayNotWatch},
			{watch, nil, false, nil},
		},
		"it is away, and then refuses": {
			{watch, first, true, first},
			{watch, second, false, second},
			{watch, mayNotWatch, true, mayNotWatch},
			{watch, nil, false, nil},
			{watch, first, true, first},
		},
		"what is about one call alone": {
			{watch, apierrors.NewResourceExpired("x"), false, nil},
			{list, mayNotList, true, mayNotList},
			{list, tooLarge(), false, mayNotList},
			{list, nil, false, nil},
		},
	} {
		var health listwatch.Health
		for i, o := range outcomes {
			if news := health.Note(o.call, o.err); news != o.news || !errors.Is(health.Err(), o.want) {
				t.Errorf("%s: after %d: news: %t, %v; want %t, %v", name, i, news, health.Err(), o.news, o.want)
			}
		}
	}
}
