// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package listwatch

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

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
