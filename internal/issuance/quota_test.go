// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance_test

import (
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

func TestIsQuotaExceeded(t *testing.T) {
	t.Parallel()
	requests := schema.GroupResource{Group: "cert-manager.io", Resource: "certificaterequests"}
	exceeded := errors.New("exceeded quota: requests, requested: count/certificaterequests.cert-manager.io=1, " +
		"used: count/certificaterequests.cert-manager.io=2, limited: count/certificaterequests.cert-manager.io=2")
	for name, row := range map[string]struct {
		err  error
		want bool
	}{
		"exceeded": {&issuance.Error{Stage: issuance.StageCreate, Err: apierrors.NewForbidden(requests, "web-0", exceeded)}, true},
		"not counted yet": {&issuance.Error{
			Stage: issuance.StageCreate,
			Err:   apierrors.NewForbidden(requests, "web-0", errors.New("status unknown for quota: requests, resources: count/certificaterequests.cert-manager.io")),
		}, false},
		"no right":           {&issuance.Error{Stage: issuance.StageCreate, Err: apierrors.NewForbidden(requests, "web-0", errors.New("no"))}, false},
		"not the API server": {&issuance.Error{Stage: issuance.StageCreate, Err: exceeded}, false},
		"of another call":    {&issuance.Error{Stage: issuance.StageClear, Err: apierrors.NewForbidden(requests, "web-0", exceeded)}, false},
		"no call":            {exceeded, false},
		"none":               {nil, false},
	} {
		if got := issuance.IsQuotaExceeded(row.err); got != row.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

func TestQuotaRetryAfter(t *testing.T) {
	t.Parallel()
	for failures, most := range map[int]time.Duration{
		0: 100 * time.Millisecond, 1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 4: 800 * time.Millisecond, 5: time.Second, 1000: time.Second,
	} {
		if got := issuance.QuotaRetryAfter(failures); got < most/2 || got >= most {
			t.Errorf("after %d failures: %s, want from %s to %s", failures, got, most/2, most)
		}
	}
}
