// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

func TestPendingSurvivesAFile(t *testing.T) {
	t.Parallel()
	for _, key := range []policy.KeySpec{
		{Algorithm: policy.ECDSA, Size: 256}, {Algorithm: policy.ECDSA, Size: 521}, {Algorithm: policy.Ed25519}, {Algorithm: policy.RSA, Size: 2048},
	} {
		order := testOrder(t)
		order.Policy.Key = key
		made, err := order.Prepare()
		check(t, err)
		data, err := made.Marshal()
		check(t, err)
		read, err := UnmarshalPending(data)
		check(t, err)
		if read.Request != made.Request || read.ID != made.ID || read.Pod != made.Pod || read.Pod != web0() || read.PolicyHash() != order.Policy.Hash() || !read.Owns(made.key.Public()) {
			t.Errorf("%v: read %+v", key, read)
		}
		if read.IdentityHash != order.Policy.IdentityHash() || read.Duration != order.Policy.Duration {
			t.Errorf("%v: of policy %s, %s", key, read.IdentityHash, read.Duration)
		}
		other, err := order.Prepare()
		check(t, err)
		if read.Owns(other.key.Public()) {
			t.Errorf("%v: owns another key", key)
		}
	}
}

func TestUnmarshalPendingRefuses(t *testing.T) {
	t.Parallel()
	made, err := testOrder(t).Prepare()
	check(t, err)
	data, err := made.Marshal()
	check(t, err)
	good := string(data)
	for name, bad := range map[string]string{
		"nothing":         "",
		"garbage":         "\x00\xff",
		"cut short":       good[:len(good)/2],
		"a newer version": strings.Replace(good, `"version":1`, `"version":2`, 1),
		"no name":         strings.Replace(good, `"name":"`, `"nickname":"`, 1),
		"no SPIFFE ID":    strings.Replace(good, "spiffe://", "http://", 1),
		"no key":          strings.Replace(good, "BEGIN PRIVATE KEY", "BEGIN SECRET", 1),
		"a wrong key":     strings.Replace(good, `-----BEGIN PRIVATE KEY-----\n`, `-----BEGIN PRIVATE KEY-----\nAAAA`, 1),
	} {
		_, err := UnmarshalPending([]byte(bad))
		if !errors.Is(err, ErrBadPending) {
			t.Errorf("%s: got %v, want ErrBadPending", name, err)
		}
	}
}

func FuzzUnmarshalPending(f *testing.F) {
	f.Add([]byte(`{"version":1,"namespace":"a","name":"b","spiffeID":"spiffe://a/b","privateKey":"","csr":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		pending, err := UnmarshalPending(data)
		if (pending == nil) != (err != nil) || err != nil && !errors.Is(err, ErrBadPending) {
			t.Errorf("%+v, %v", pending, err)
		}
	})
}

// A request that the watch knows of is waited for, and not created again.
func TestIssueGoesOnWithARequestThatIsThere(t *testing.T) {
	t.Parallel()
	issuer, order := newFakeIssuer(t), testOrder(t)
	pending, err := order.Prepare()
	check(t, err)
	a := newAPI(t, func(*api, *cmapi.CertificateRequest) *metav1.Status { return nil })
	requester := a.requester(t)
	check(t, requester.tracker.waitForSync(t.Context()))
	a.send("ADDED", signWith(t, issuer, admit(order.certificateRequest(pending))))
	for !requester.tracker.knows(pending.Request) {
		check(t, t.Context().Err())
	}
	svid, err := requester.Issue(t.Context(), order, pending, new(Progress))
	check(t, err)
	if svid.Request != pending.Request || len(a.noted()) != 0 {
		t.Errorf("from %s, with calls %q", svid.Request, a.noted())
	}
}

// What the API server has under the name of the request is somebody else's.
func TestIssueTakesNoRequestOfSomebodyElse(t *testing.T) {
	t.Parallel()
	issuer, order := newFakeIssuer(t), testOrder(t)
	pending, err := order.Prepare()
	check(t, err)
	other, err := order.Prepare()
	check(t, err)
	other.Request = pending.Request
	a := newAPI(t, nil)
	requester := a.requester(t)
	check(t, requester.tracker.waitForSync(t.Context()))
	a.send("ADDED", signWith(t, issuer, admit(order.certificateRequest(other))))
	for !requester.tracker.knows(pending.Request) {
		check(t, t.Context().Err())
	}
	if _, err := requester.Issue(t.Context(), order, pending, new(Progress)); !errors.Is(err, ErrNotOurs) || IsTransient(err) {
		t.Errorf("got %v, want ErrNotOurs", err)
	}
}

// An open request that an earlier process has left goes before another is made.
func TestIssueDeletesOtherOpenRequestsFirst(t *testing.T) {
	t.Parallel()
	issuer, order := newFakeIssuer(t), testOrder(t)
	left, err := order.Prepare()
	check(t, err)
	a := newAPI(t, func(a *api, request *cmapi.CertificateRequest) *metav1.Status {
		a.send("ADDED", signWith(t, issuer, request))
		return nil
	})
	requester := a.requester(t)
	check(t, requester.tracker.waitForSync(t.Context()))
	a.send("ADDED", admit(order.certificateRequest(left)))
	for !requester.tracker.knows(left.Request) {
		check(t, t.Context().Err())
	}
	_, err = issue(t.Context(), requester, order, new(Progress))
	check(t, err)
	calls := a.noted()
	if len(calls) != 2 || calls[0] != "DELETE "+left.Request.Name+" by Bearer driver" || !strings.HasPrefix(calls[1], "POST ") {
		t.Errorf("calls: %q", calls)
	}
}

func TestIsTransient(t *testing.T) {
	t.Parallel()
	resource := schema.GroupResource{Resource: "certificaterequests"}
	at := func(stage Stage, err error) error { return fmt.Errorf("x: %w", &Error{Stage: stage, Err: err}) }
	for name, row := range map[string]struct {
		err  error
		want bool
	}{
		"no answer":       {at(StageCreate, errors.New("connection refused")), true},
		"500":             {at(StageCreate, apierrors.NewInternalError(errors.New("webhook"))), true},
		"503":             {at(StageCreate, apierrors.NewServiceUnavailable("starting")), true},
		"504":             {at(StageCreate, apierrors.NewTimeoutError("slow", 1)), true},
		"429":             {at(StageCreate, apierrors.NewTooManyRequests("busy", 1)), true},
		"409":             {at(StageCreate, apierrors.NewConflict(resource, "x", errors.New("quota"))), true},
		"while deleting":  {at(StageClear, apierrors.NewServiceUnavailable("starting")), true},
		"401":             {at(StageCreate, apierrors.NewUnauthorized("no")), false},
		"403":             {at(StageCreate, apierrors.NewForbidden(resource, "x", errors.New("no"))), false},
		"404":             {at(StageCreate, apierrors.NewNotFound(resource, "x")), false},
		"422":             {at(StageCreate, apierrors.NewInvalid(schema.GroupKind{}, "x", nil)), false},
		"denied":          {at(StageApprove, ErrDenied), false},
		"wrong in itself": {at(StagePrepare, policy.ErrPolicy), false},
		"given up":        {at(StageCreate, context.Canceled), false},
		"something else":  {errors.New("else"), false},
	} {
		if got := IsTransient(row.err); got != row.want {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
}
