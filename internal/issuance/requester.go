// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/listwatch"
)

// Requester makes documents. Make one with [NewRequester]; it is safe for use
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

// Progress is where a running [Requester.Issue] stands, for whoever has to
// explain why it takes so long. The zero value is ready for use.
type Progress struct {
	// Step, unless nil, is called with each stage that is reached.
	Step func(Stage)

	current atomic.Pointer[step]
}

// step is a stage that was reached, and what is waited for there at any moment.
type step struct {
	request    types.NamespacedName
	stage      Stage
	waitingFor func() error
}

// Err returns the present stage as an error whose cause is err with what is
// being waited for, or err itself if nothing has begun.
func (p *Progress) Err(err error) error {
	now := p.current.Load()
	if now == nil {
		return err
	}
	if waiting := now.waitingFor(); waiting != nil {
		err = fmt.Errorf("%w (%w)", waiting, err)
	}
	return &Error{Request: now.request, Stage: now.stage, Err: err}
}

func (p *Progress) set(request types.NamespacedName, stage Stage, waitingFor error) {
	p.follow(request, stage, func() error { return waitingFor })
}

// follow is set where what is waited for is another from one moment to the next.
func (p *Progress) follow(request types.NamespacedName, stage Stage, waitingFor func() error) {
	p.current.Store(&step{request, stage, waitingFor})
	if p.Step != nil {
		p.Step(stage)
	}
}

// Report notes err, an [*Error], as what is waited for: an attempt has failed and there
// will be another one, or the certificate is not valid yet. Whoever asks meanwhile is told
// the cause.
func (p *Progress) Report(err error) {
	var issue *Error
	if errors.As(err, &issue) {
		p.current.Store(&step{issue.Request, issue.Stage, func() error { return issue.Err }})
	}
}

// Issue asks for a certificate as the pod, with what [Order.Prepare] made for
// the order, and returns key and certificate as a document. It waits until the
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
