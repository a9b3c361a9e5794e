// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/listwatch"
)

// errNotSeen is what a request waits for before the watch has shown it.
var errNotSeen = errors.New("the API server has not shown it yet")

// longestSilence is after how long without an event a request is looked at
// directly, and at most half as long again: an approver or issuer that is slow has
// thousands wait, and they must not keep the API server busy as well. The watch
// tells of every change, but for two cases: a request that was created and deleted
// while the watch was broken, and one whose labels somebody took away.
const longestSilence = 4 * time.Minute

// quickLook is how long at most a request is looked at directly, for the watch may
// tell meanwhile.
const quickLook = 10 * time.Second

// await follows a request until it is signed, and tells progress on the way. The
// latest event is what is known of it already, if anything. Another request that has
// its name is not waited for.
func (r *Requester) await(ctx context.Context, name types.NamespacedName, uid types.UID, latest event, events <-chan event, to *Progress) (*cmapi.CertificateRequest, error) {
	defer func() {
		if ctx.Err() == nil { // it has its answer, whatever the watch has shown
			r.tracker.unobserved.dropUID(name, uid)
		}
	}()
	to.set(name, StageApprove, errNotSeen)
	silence := time.NewTicker(longestSilence + rand.N(longestSilence/2))
	defer silence.Stop()
	known := make(chan event, 1)
	if latest.request != nil {
		known <- latest
	}
	for {
		select {
		case latest = <-known:
		case <-ctx.Done():
			return nil, to.Err(context.Cause(ctx))
		case <-silence.C:
			latest = event{}
		case latest = <-events:
			silence.Reset(longestSilence + rand.N(longestSilence/2))
		}
		if latest.uid != uid || latest.request == nil && !latest.deleted {
			var err error
			if latest, err = r.look(ctx, min(quickLook, r.callLimit), name); err != nil {
				continue // the watch may still tell
			}
		}
		if latest.request == nil || latest.uid != uid {
			return nil, &Error{name, StageApprove, ErrDeleted}
		}
		stage, done, err := outcome(latest.request)
		switch {
		case err != nil:
			return nil, &Error{name, stage, err}
		case done:
			return latest.request, nil
		case latest.deleted, latest.request.DeletionTimestamp != nil: // cert-manager does not sign what somebody's finalizer keeps
			return nil, &Error{name, stage, ErrDeleted}
		}
		to.set(name, stage, progress(latest.request, stage))
	}
}

// look asks the API server for the state of a request.
func (r *Requester) look(ctx context.Context, limit time.Duration, name types.NamespacedName) (latest event, err error) {
	var request *cmapi.CertificateRequest
	err = listwatch.Within(ctx, limit, func(ctx context.Context) (err error) {
		request, err = r.reader.Get(ctx, name)
		return err
	})
	switch {
	case apierrors.IsNotFound(err):
		return event{deleted: true}, r.tracker.forget(name, "")
	case err != nil:
		return event{}, err
	}
	return event{request: request, uid: request.UID}, r.tracker.learn(request)
}

// Delete deletes a request, and never another one that has got its name: the UID is a
// precondition. Where it is not known, the request of that name is deleted if there is
// proof that it was made in the name of the pod, and left alone otherwise. A request
// that is gone already is not an error, nor is one that has been deleted and that
// somebody's finalizer keeps.
//
// There is no precondition on the resource version: whatever becomes of a request that
// is not wanted, it stays unwanted.
func (r *Requester) Delete(ctx context.Context, ref Ref) error {
	ref, err := r.identify(ctx, ref)
	if err == nil && ref.UID != "" && !r.tracker.leaves(ref) {
		err = listwatch.Within(ctx, r.callLimit, func(ctx context.Context) error {
			return r.client.CertmanagerV1().CertificateRequests(ref.Name.Namespace).Delete(ctx, ref.Name.Name,
				metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &ref.UID}})
		})
		// A conflict says that the object of that name is another one.
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			err = r.tracker.forget(ref.Name, ref.UID)
		}
	}
	if err != nil {
		return fmt.Errorf("deleting CertificateRequest %s: %w", ref.Name, err)
	}
	return nil
}

// identify finds out which request is meant, if that is not known. The UID stays empty
// if the request is gone, or about to be, or is not the pod's.
func (r *Requester) identify(ctx context.Context, ref Ref) (Ref, error) {
	if ref.UID != "" {
		return ref, nil
	}
	latest, err := r.look(ctx, r.callLimit, ref.Name)
	if err != nil || latest.request == nil || latest.request.DeletionTimestamp != nil {
		return ref, err
	}
	if pod, proven := originOf(latest.request); !proven || !pod.Is(ref.Pod) {
		r.tracker.log.Debug("leaving a CertificateRequest alone that has the name of one of this driver", "request", ref.Name)
		r.tracker.unobserved.drop(ref.Name)
		return ref, nil
	}
	ref.UID = latest.uid
	return ref, nil
}

func nameOf(request metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: request.GetNamespace(), Name: request.GetName()}
}
