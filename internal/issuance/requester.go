// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/listwatch"
)

// Requester obtains SVIDs. Make one with [NewRequester]; it is safe for use
// by many goroutines.
type Requester struct {
	base    *rest.Config
	client  cmclient.Interface
	reader  *certrequest.Client
	tracker *tracker
	// callLimit is after how long without an answer a call of the API is given up.
	callLimit time.Duration
	// links are parts of chains that have been verified.
	links verifiedLinks
}

// NewRequester returns a Requester for the driver of one node, which learns by
// watches of a scope what becomes of its requests. config is the
// driver's own: with its credentials requests are watched and old ones deleted,
// while each request is created with the pod's token alone. That requests cannot
// be watched is told in the log.
func NewRequester(config *rest.Config, owner Owner, scope WatchScope, log *slog.Logger) (*Requester, error) {
	client, err := cmclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("building the cert-manager client: %w", err)
	}
	reader := certrequest.New(client.CertmanagerV1().RESTClient(), certrequest.Limits{Certificate: certrequest.MaxCertificate})
	return &Requester{
		base: config, client: client, reader: reader, tracker: newTracker(reader, scope, owner, log), callLimit: listwatch.LongestCall,
	}, nil
}

// Start begins to watch the node's requests until ctx ends. It does not wait:
// [Requester.Issue] does, if the API server is away.
func (r *Requester) Start(ctx context.Context) { go r.tracker.run(ctx) }

// OnNew has f called with each request of the node that appears and of which there is
// proof that it was made in the name of a pod, those that are there already among
// them, and with the value of its [LabelVolume]. f must not block. Call it before
// [Requester.Start].
func (r *Requester) OnNew(f func(request Known, volumeLabel string)) {
	r.tracker.onNew = f
}

// Issue asks for a certificate as the pod, with what [Order.Prepare] made for
// the order, and returns key and certificate as an SVID. It waits until the
// request is signed, denied, failed or deleted, or ctx ends. If the request is
// there already, because an earlier call was cut off, it is waited for and not
// made again. Errors are of type [*Error].
//
// The request stays when ctx ends. Whoever does not want to go on with it has to
// delete it.
func (r *Requester) Issue(ctx context.Context, order Order, pending *Pending, progress *Progress) (*SVID, error) {
	progress.follow(types.NamespacedName{}, StagePrepare, r.Ready)
	if err := r.tracker.waitForSync(ctx); err != nil {
		return nil, &Error{Stage: StagePrepare, Err: err}
	}
	if err := r.clear(ctx, order, pending.Request, progress); err != nil {
		return nil, err
	}
	// Subscribed before the request exists, so that no change can be missed.
	events, unsubscribe := r.tracker.subscribe(ctx, pending.Request)
	defer unsubscribe()

	signed, since, err := r.createAndAwait(ctx, order, pending, events, progress)
	if err != nil {
		return nil, err
	}
	progress.set(pending.Request, StageVerify, nil)
	svid, err := r.links.newSVID(pending.ID, pending.key, signed, order.Policy)
	if err != nil {
		return nil, &Error{pending.Request, StageVerify, err}
	}
	svid.Obtained = signedAt(signed, since, svid.Obtained)
	return svid, nil
}

// clear deletes the volume's other requests that are still open, of which there
// may be one if a process was killed in a bad moment, or if the volume was unpublished
// just now. A volume never has two.
func (r *Requester) clear(ctx context.Context, order Order, keep types.NamespacedName, progress *Progress) error {
	for _, open := range r.tracker.openOf(PodOf(order.Pod), order.VolumeID) {
		if open.Name == keep {
			continue
		}
		progress.set(open.Name, StageClear, nil)
		if err := r.Delete(ctx, open); err != nil {
			return &Error{open.Name, StageClear, because(ctx, err)}
		}
	}
	return nil
}

// createAndAwait returns the request when it is signed, and when it was created: zero if
// it was there before.
func (r *Requester) createAndAwait(ctx context.Context, order Order, pending *Pending, events <-chan event, progress *Progress) (signed *cmapi.CertificateRequest, since time.Time, err error) {
	name := pending.Request
	progress.set(name, StageCreate, nil)
	there, err := r.present(ctx, name)
	switch {
	case err != nil:
		return nil, since, &Error{name, StageCreate, because(ctx, err)}
	case there != nil:
		signed, err = r.goOn(ctx, order, pending, there, events, progress)
		return signed, since, err
	}
	client, err := podClient(r.base, order.Token.Reveal())
	if err != nil {
		return nil, since, &Error{name, StageCreate, err}
	}
	again := r.tracker.unobserved.add(name, order.VolumeID)
	var uid types.UID
	created := time.Now()
	err = listwatch.Within(ctx, r.callLimit, func(ctx context.Context) (err error) {
		uid, err = create(ctx, client, order.certificateRequest(pending))
		return err
	})
	if err != nil && !again && ctx.Err() == nil && !apierrors.IsAlreadyExists(err) && !IsTransient(&Error{name, StageCreate, err}) {
		r.tracker.unobserved.drop(name) // it was not made
	}
	if apierrors.IsAlreadyExists(err) { // the answer to its creation was lost
		var latest event
		switch latest, err = r.look(ctx, r.callLimit, name); {
		case latest.request != nil:
			signed, err = r.goOn(ctx, order, pending, latest.request, events, progress)
			return signed, since, err
		case err == nil:
			err = ErrDeleted
		}
	}
	if err != nil {
		return nil, since, &Error{name, StageCreate, because(ctx, err)}
	}
	r.tracker.unobserved.made(name, uid)
	signed, err = r.await(ctx, name, uid, event{}, events, progress)
	return signed, created, err
}

// because returns why a call of the API has failed: why ctx has ended, if it has,
// rather than that the HTTP request broke off.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// present returns the request if it is there already, or nil. The tracker knows no
// more than that it is, or was: each may be watched by itself, and nobody has waited
// for this one since the list.
func (r *Requester) present(ctx context.Context, name types.NamespacedName) (*cmapi.CertificateRequest, error) {
	if !r.tracker.knows(name) {
		return nil, nil
	}
	latest, err := r.look(ctx, r.callLimit, name)
	return latest.request, err
}

func (r *Requester) goOn(ctx context.Context, order Order, pending *Pending, request *cmapi.CertificateRequest, events <-chan event, progress *Progress) (*cmapi.CertificateRequest, error) {
	if !pending.isIn(request, PodOf(order.Pod)) {
		r.tracker.unobserved.drop(pending.Request)
		return nil, &Error{pending.Request, StageCreate, ErrNotOurs}
	}
	return r.await(ctx, pending.Request, request.UID, event{request: request, uid: request.UID}, events, progress)
}

// Ready returns nil while requests can be made, or why not.
func (r *Requester) Ready() error { return r.tracker.ready() }

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
