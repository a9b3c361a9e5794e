// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"crypto"
	"fmt"
	"sync/atomic"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

// withdrawTimeout is how long the end of a request may hold up the end of the
// program.
const withdrawTimeout = 5 * time.Second

// Requester makes documents. Make one with [NewRequester]; it is safe for use
// by many goroutines.
type Requester struct {
	base    *rest.Config
	client  cmclient.Interface
	tracker *tracker
}

// NewRequester returns a Requester for the node of this name. config is the
// driver's own: with its credentials requests are watched and old ones deleted,
// while each request is created with the pod's token alone.
func NewRequester(config *rest.Config, node string) (*Requester, error) {
	client, err := cmclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("building the cert-manager client: %w", err)
	}
	tracker, err := newTracker(client, node)
	if err != nil {
		return nil, fmt.Errorf("setting up the watch on CertificateRequests: %w", err)
	}
	return &Requester{base: config, client: client, tracker: tracker}, nil
}

// Start begins to watch the node's requests until ctx ends. It does not wait:
// [Requester.Issue] does, if the API server is away.
func (r *Requester) Start(ctx context.Context) { r.tracker.start(ctx) }

// Progress is where a running [Requester.Issue] stands, for whoever has to
// explain why it takes so long. The zero value is ready for use.
type Progress struct{ current atomic.Pointer[Error] }

// Err returns the present stage as an error whose cause is err with what is
// being waited for, or err itself if nothing has begun.
func (p *Progress) Err(err error) error {
	now := p.current.Load()
	if now == nil {
		return err
	}
	if now.Err != nil {
		err = fmt.Errorf("%w (%w)", now.Err, err)
	}
	return &Error{Request: now.Request, Stage: now.Stage, Err: err}
}

func (p *Progress) set(request types.NamespacedName, stage Stage, waitingFor error) {
	p.current.Store(&Error{request, stage, waitingFor})
}

// Issue makes a key, asks for a certificate as the pod, and returns both as a
// document. It waits until the request is signed, denied, failed or deleted, or
// ctx ends. Errors are of type [*Error].
func (r *Requester) Issue(ctx context.Context, order Order, progress *Progress) (*Document, error) {
	progress.set(types.NamespacedName{}, StagePrepare, nil)
	id, key, csrPEM, err := prepare(order)
	if err != nil {
		return nil, &Error{Stage: StagePrepare, Err: err}
	}
	progress.set(types.NamespacedName{}, StagePrepare, r.Ready())
	if err := r.tracker.waitForSync(ctx); err != nil {
		return nil, &Error{Stage: StagePrepare, Err: err}
	}
	request := order.certificateRequest(id, csrPEM)
	name := nameOf(request)
	// Subscribed before the request exists, so that no change can be missed.
	events, unsubscribe := r.tracker.subscribe(name)
	defer unsubscribe()

	progress.set(name, StageCreate, nil)
	signed, err := r.createAndAwait(ctx, order.Token, request, events, progress)
	if err != nil {
		if ctx.Err() != nil {
			r.withdraw(ctx, name)
		}
		return nil, err
	}
	document, err := newDocument(id, key, signed, order.Policy)
	if err != nil {
		return nil, &Error{name, StageVerify, err}
	}
	return document, nil
}

func prepare(order Order) (spiffeid.ID, crypto.Signer, []byte, error) {
	id, err := order.Policy.SPIFFEID(order.Pod.ServiceAccount)
	if err != nil {
		return spiffeid.ID{}, nil, nil, err
	}
	key, err := order.Policy.Key.Generate()
	if err != nil {
		return spiffeid.ID{}, nil, nil, err
	}
	csrPEM, err := csr.Build(id, key)
	return id, key, csrPEM, err
}

func (r *Requester) createAndAwait(ctx context.Context, token Token, request *cmapi.CertificateRequest, events <-chan event, progress *Progress) (*cmapi.CertificateRequest, error) {
	name := nameOf(request)
	client, err := podClient(r.base, token.Reveal())
	if err != nil {
		return nil, &Error{name, StageCreate, err}
	}
	_, err = client.CertmanagerV1().CertificateRequests(request.Namespace).Create(ctx, request, metav1.CreateOptions{})
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx) // why, rather than that the HTTP request broke off
		}
		return nil, &Error{name, StageCreate, err}
	}
	return r.await(ctx, name, events, progress)
}

// withdraw deletes a request that nobody waits for any more: with ctx the key
// goes, and a certificate for it would be of no use. It may not have been
// created at all.
func (r *Requester) withdraw(ctx context.Context, name types.NamespacedName) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
	defer cancel()
	// What is left if it fails goes with the pod that owns it.
	_ = r.Delete(ctx, []types.NamespacedName{name})
}

// Ready returns nil while requests can be made, or why not.
func (r *Requester) Ready() error {
	if !r.tracker.informer.HasSynced() {
		return errNotSynced
	}
	return nil
}
