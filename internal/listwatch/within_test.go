// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package listwatch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/listwatch"
)

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
