// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// landed is a renewal whose request has brought a document.
func landed(d *Driver, document *issuance.SVID) *flight {
	f := &flight{landed: make(chan struct{}), document: document, attempt: d.issuances.begin(renewing, time.Now())}
	close(f.landed)
	f.attempt.landed(nil)
	return f
}

// samples are those that are not 0 of a driver's metrics, by name and labels; of
// histograms, count and sum.
func samples(t *testing.T, collectors ...prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors...)
	families, err := registry.Gather()
	check(t, err)
	found := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			name := strings.TrimPrefix(family.GetName(), "csi_driver_spiffe_")
			in := func(name string) string { return name + "{" + strings.Join(labels, ",") + "}" }
			switch family.GetType() {
			case dto.MetricType_HISTOGRAM:
				found[in(name+"_count")] = float64(metric.GetHistogram().GetSampleCount())
				found[in(name+"_sum")] = metric.GetHistogram().GetSampleSum()
			case dto.MetricType_COUNTER:
				found[in(name)] = metric.GetCounter().GetValue()
			default:
				found[in(name)] = metric.GetGauge().GetValue()
			}
		}
	}
	maps.DeleteFunc(found, func(_ string, value float64) bool { return value == 0 })
	return found
}

// What ends with a document counts with its times, which add up to the whole.
func TestAttemptThatSucceeds(t *testing.T) {
	t.Parallel()
	for op, last := range map[operation]issuance.Stage{publishing: issuance.StageMount, renewing: issuance.StageWrite} {
		t.Run(string(op), func(t *testing.T) {
			t.Parallel()
			m := newIssuances()
			a := m.begin(op, time.Now().Add(-time.Minute)) // it has waited for its turn
			for _, stage := range issuance.Stages() {
				a.enter(stage)
				a.enter(stage) // the watch may tell of one twice
			}
			a.succeed()
			a.succeed() // two who have collected one document count once
			a.fail(errors.New("too late"))
			a.drop()
			got := samples(t, m.all...)
			if key := fmt.Sprintf("issuances_total{operation=%s,outcome=succeeded,stage=%s}", op, last.Word()); got[key] != 1 {
				t.Errorf("%s is %g in %v", key, got[key], got)
			}
			sum, whole := 0.0, got[fmt.Sprintf("issuance_duration_seconds_sum{operation=%s}", op)]
			for _, stage := range stagesOf(op) {
				in := fmt.Sprintf("{operation=%s,stage=%s}", op, stage.Word())
				if got["issuance_stage_duration_seconds_count"+in] != 1 {
					t.Errorf("stage %s is not counted once", stage.Word())
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
		{"unpublished", issuance.StageSign, at(issuance.StageSign, errUnpublished), "outcome=abandoned,stage=sign"},
		{"unpublished, in the middle of its creation", issuance.StageCreate, at(issuance.StageCreate, errUnpublished), "outcome=abandoned,stage=create"},
		{"replaced", issuance.StageApprove, errReplaced, "outcome=abandoned,stage=approve"},
		{"the driver stops", issuance.StagePrepare, errStopping, "outcome=abandoned,stage=prepare"},
		{"somebody else holds the volume", issuance.StageCollect, context.DeadlineExceeded, "outcome=abandoned,stage=collect"},
		{"no key", issuance.StagePrepare, errors.New("no entropy"), "outcome=node_failure,stage=prepare"},
		{"no room", issuance.StageWrite, &placeError{volume.ErrFull, issuance.StageWrite, noRequest}, "outcome=node_failure,stage=write"},
		{"no mount", issuance.StageMount, errors.New("operation not permitted"), "outcome=node_failure,stage=mount"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			m := newIssuances()
			a := m.begin(publishing, time.Now())
			a.enter(row.reached)
			if stage, underWay := a.now(); stage != row.reached || !underWay {
				t.Errorf("it is in %s, under way: %t", stage, underWay)
			}
			a.landed(row.err)
			a.succeed()
			if _, underWay := a.now(); underWay {
				t.Error("it is under way still")
			}
			want := map[string]float64{"issuances_total{operation=publish," + row.want + "}": 1}
			if got := samples(t, m.all...); !maps.Equal(got, want) {
				t.Errorf("counted %v, want %v", got, want)
			}
		})
	}
}

// A document that nobody wants any more is counted, whichever comes first.
func TestAttemptThatNobodyWants(t *testing.T) {
	t.Parallel()
	want := map[string]float64{"issuances_total{operation=renewal,outcome=abandoned,stage=collect}": 1}
	for name, end := range map[string]func(*attempt){
		"it lands, and is dropped": func(a *attempt) { a.landed(nil); a.drop() },
		"it is dropped, and lands": func(a *attempt) { a.drop(); a.landed(nil) },
		"both at once": func(a *attempt) {
			var both sync.WaitGroup
			both.Go(a.drop)
			a.landed(nil)
			both.Wait()
		},
	} {
		m := newIssuances()
		a := m.begin(renewing, time.Time{})
		a.enter(issuance.StageVerify)
		end(a)
		if got := samples(t, m.all...); !maps.Equal(got, want) {
			t.Errorf("%s: counted %v, want %v", name, got, want)
		}
	}
}
