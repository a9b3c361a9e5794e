// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/lifecycle"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe/observetest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// What ends with an SVID counts with its times, which add up to the whole.
func TestAttemptThatSucceeds(t *testing.T) {
	t.Parallel()
	for op, last := range map[observe.Operation]issuance.Stage{observe.Publishing: issuance.StageMount, observe.Renewing: issuance.StageWrite} {
		t.Run(string(op), func(t *testing.T) {
			t.Parallel()
			m := observe.NewIssuances()
			a := m.Begin(op, time.Now().Add(-time.Minute)) // it has waited for its turn
			for _, stage := range issuance.Stages() {
				a.Enter(stage)
				a.Enter(stage) // the watch may tell of one twice
			}
			a.Succeed()
			a.Succeed() // two who have collected one SVID count once
			a.Fail(errors.New("too late"))
			a.Abandon()
			got := observetest.Samples(t, m.Collectors()...)
			if key := fmt.Sprintf("issuances_total{operation=%s,outcome=succeeded,stage=%s}", op, last.Word()); got[key] != 1 {
				t.Errorf("%s is %g in %v", key, got[key], got)
			}
			sum, whole := 0.0, got[fmt.Sprintf("issuance_duration_seconds_sum{operation=%s}", op)]
			for _, stage := range issuance.Stages() {
				in := fmt.Sprintf("{operation=%s,stage=%s}", op, stage.Word())
				want := 1.0
				if op == observe.Renewing && stage == issuance.StageMount { // a renewal mounts nothing
					want = 0
				}
				if n := got["issuance_stage_duration_seconds_count"+in]; n != want {
					t.Errorf("stage %s is counted %g times, want %g", stage.Word(), n, want)
				}
				sum += got["issuance_stage_duration_seconds_sum"+in]
			}
			if math.Abs(sum-whole) > 1e-6 || whole < 60 {
				t.Errorf("the stages take %g s, the whole %g s", sum, whole)
			}
			if queue := got[fmt.Sprintf("issuance_stage_duration_seconds_sum{operation=%s,stage=queue}", op)]; queue < 60 {
				t.Errorf("it waited for %g s", queue)
			}
		})
	}
}

func TestAttemptThatFails(t *testing.T) {
	t.Parallel()
	at := func(stage issuance.Stage, err error) error { return &issuance.Error{Stage: stage, Err: err} }
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "certificaterequests"}, "", errors.New("no right"))
	for _, row := range []struct {
		name    string
		reached issuance.Stage
		err     error
		want    string
	}{
		{"denied", issuance.StageApprove, at(issuance.StageApprove, fmt.Errorf("%w: duration", issuance.ErrDenied)), "outcome=denied,stage=approve"},
		{"failed, before the watch showed its approval", issuance.StageApprove, at(issuance.StageSign, issuance.ErrFailed), "outcome=failed,stage=sign"},
		{"deleted", issuance.StageSign, at(issuance.StageSign, issuance.ErrDeleted), "outcome=deleted,stage=sign"},
		{"no right", issuance.StageCreate, at(issuance.StageCreate, forbidden), "outcome=refused,stage=create"},
		{"somebody else's request", issuance.StageCreate, at(issuance.StageCreate, issuance.ErrNotOurs), "outcome=refused,stage=create"},
		{"no answer", issuance.StageCreate, at(issuance.StageCreate, errors.New("connection refused")), "outcome=unavailable,stage=create"},
		{"overloaded", issuance.StageClear, at(issuance.StageClear, apierrors.NewTooManyRequestsError("later")), "outcome=unavailable,stage=clear"},
		{"another identity", issuance.StageVerify, at(issuance.StageVerify, issuance.ErrBadCertificate), "outcome=bad_certificate,stage=verify"},
		{"unpublished", issuance.StageSign, at(issuance.StageSign, observe.ErrUnpublished), "outcome=abandoned,stage=sign"},
		{"unpublished, in the middle of its creation", issuance.StageCreate, at(issuance.StageCreate, observe.ErrUnpublished), "outcome=abandoned,stage=create"},
		{"replaced", issuance.StageApprove, observe.ErrReplaced, "outcome=abandoned,stage=approve"},
		{"nobody asks for it any more", issuance.StageApprove, lifecycle.ErrUnasked, "outcome=abandoned,stage=approve"},
		{"the driver stops", issuance.StagePrepare, observe.ErrStopping, "outcome=abandoned,stage=prepare"},
		{"somebody else holds the volume", issuance.StageCollect, context.DeadlineExceeded, "outcome=abandoned,stage=collect"},
		{"no key", issuance.StagePrepare, errors.New("no entropy"), "outcome=node_failure,stage=prepare"},
		{"no room", issuance.StageWrite, &observe.PlaceError{Err: volume.ErrFull, Stage: issuance.StageWrite}, "outcome=node_failure,stage=write"},
		{"no mount", issuance.StageMount, errors.New("operation not permitted"), "outcome=node_failure,stage=mount"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			m := observe.NewIssuances()
			a := m.Begin(observe.Publishing, time.Now())
			a.Enter(row.reached)
			if p := a.Progress(); p.Stage != row.reached || !p.UnderWay {
				t.Errorf("it is in %s, under way: %t", p.Stage, p.UnderWay)
			}
			a.RequestEnded(row.err)
			a.Succeed()
			if a.Progress().UnderWay {
				t.Error("it is under way still")
			}
			want := map[string]float64{"issuances_total{operation=publish," + row.want + "}": 1}
			if got := observetest.Samples(t, m.Collectors()...); !maps.Equal(got, want) {
				t.Errorf("counted %v, want %v", got, want)
			}
		})
	}
}

// An SVID that nobody wants any more is counted, whichever comes first.
func TestAttemptThatNobodyWants(t *testing.T) {
	t.Parallel()
	want := map[string]float64{"issuances_total{operation=renewal,outcome=abandoned,stage=collect}": 1}
	for name, end := range map[string]func(*observe.Attempt){
		"the request ends, and is abandoned": func(a *observe.Attempt) { a.RequestEnded(nil); a.Abandon() },
		"it is abandoned, and ends":          func(a *observe.Attempt) { a.Abandon(); a.RequestEnded(nil) },
		"both at once": func(a *observe.Attempt) {
			var both sync.WaitGroup
			both.Go(a.Abandon)
			a.RequestEnded(nil)
			both.Wait()
		},
	} {
		m := observe.NewIssuances()
		a := m.Begin(observe.Renewing, time.Time{})
		a.Enter(issuance.StageVerify)
		end(a)
		if got := observetest.Samples(t, m.Collectors()...); !maps.Equal(got, want) {
			t.Errorf("%s: counted %v, want %v", name, got, want)
		}
	}
}

func TestFailuresAndRetriesAreCounted(t *testing.T) {
	t.Parallel()
	m := observe.NewIssuances()
	m.RenewalFailed()
	m.Retried(observe.Renewing)
	m.Retried(observe.Publishing)
	m.Retried(observe.Publishing)
	want := map[string]float64{"renewal_failures_total{}": 1, "retries_total{operation=renewal}": 1, "retries_total{operation=publish}": 2}
	if got := observetest.Samples(t, m.Collectors()...); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}
