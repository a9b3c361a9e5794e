// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package listwatch_test

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

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
