// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
)

// api is an API server with approver and issuer, as far as [manager.Requester] goes. Unless
// a test says otherwise, each request is approved and signed at once, for as long as is
// asked. It outlives the managers that use it.
type api struct {
	ca   *x509.Certificate
	key  crypto.Signer
	root []byte // in PEM

	mu       sync.Mutex
	requests map[types.NamespacedName]*request
	calls    []call
	deleted  []types.NamespacedName
	onNew    func(issuance.Known, string)
	behaves  behaviour
}

// behaviour is what a test wants the API server and the issuer to do. Each function may be
// nil. An order identifies the pod.
type behaviour struct {
	// create returns why a request cannot be created, or nil.
	create func(order issuance.Order) error
	// undecided reports whether a request waits until [api.decide].
	undecided func(order issuance.Order) bool
	// verdict returns why a request is denied, or fails, or nil.
	verdict func(order issuance.Order) error
	// sign changes the certificate before it is signed.
	sign func(template *x509.Certificate)
	// lingers is how long a call of Issue goes on when its context has ended. What comes
	// meanwhile is what it returns.
	lingers time.Duration
	// hangs reports whether the API server does not answer to the creation of a request.
	hangs func(order issuance.Order) bool
	// delete returns why a request cannot be deleted, or nil.
	delete func(request types.NamespacedName) error
}

// call is a call of Issue.
type call struct {
	order   issuance.Order
	request types.NamespacedName
	at      time.Time
}

// request is a CertificateRequest.
type request struct {
	issuance.Known

	volume string // the label
	order  issuance.Order
	csr    []byte
	// decided is closed when there is a certificate, or a failure.
	decided  chan struct{}
	signed   *x509.Certificate
	signedAt time.Time
	failure  error
}

func newAPI(t *testing.T) *api {
	t.Helper()
	ca, err := testkit.NewCA("root")
	check(t, err)
	pair, err := tls.X509KeyPair(ca.CertificatePEM, ca.KeyPEM)
	check(t, err)
	return &api{ca: pair.Leaf, key: pair.PrivateKey.(crypto.Signer), root: ca.CertificatePEM, requests: map[types.NamespacedName]*request{}}
}

// now has the API server and the issuer behave in another way.
func (a *api) now(b behaviour) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.behaves = b
}

// decide has all requests decided that wait: signed, or failed because of err. With pods it
// is only those of these.
func (a *api) decide(err error, pods ...pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests {
		of := func(p pod) bool { return p.uid == r.Pod.UID }
		if r.signed == nil && r.failure == nil && (len(pods) == 0 || slices.ContainsFunc(pods, of)) {
			a.settle(r, err)
		}
	}
}

// settle decides a request. The caller holds the lock.
func (a *api) settle(r *request, failure error) {
	if r.failure = failure; failure == nil {
		r.signed = a.sign(r)
		r.Issued = true
	}
	r.signedAt = time.Now()
	close(r.decided)
}

func (a *api) sign(r *request) *x509.Certificate {
	block, _ := pem.Decode(r.csr)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		panic(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), URIs: []*url.URL{csr.URIs[0]}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: now, NotAfter: now.Add(r.order.Policy.Duration),
	}
	if a.behaves.sign != nil {
		a.behaves.sign(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.ca, csr.PublicKey, a.key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return leaf
}

// pendingKey returns the key and the CSR of a pending request.
func pendingKey(pending *issuance.Pending) (key crypto.Signer, csr []byte) {
	data, err := pending.Marshal()
	if err != nil {
		panic(err)
	}
	var file struct{ PrivateKey, CSR string }
	if err := json.Unmarshal(data, &file); err != nil {
		panic(err)
	}
	block, _ := pem.Decode([]byte(file.PrivateKey))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	return parsed.(crypto.Signer), []byte(file.CSR)
}

// reach tells how far a request has come.
func reach(progress *issuance.Progress, name types.NamespacedName, stage issuance.Stage, waitsFor string) {
	progress.Report(&issuance.Error{Request: name, Stage: stage, Err: fmt.Errorf("%s", waitsFor)})
	if progress.Step != nil {
		progress.Step(stage)
	}
}

// Issue implements [manager.Requester].
func (a *api) Issue(ctx context.Context, order issuance.Order, pending *issuance.Pending, progress *issuance.Progress) (*issuance.SVID, error) {
	name := pending.Request
	a.mu.Lock()
	a.calls = append(a.calls, call{order, name, time.Now()})
	a.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, &issuance.Error{Stage: issuance.StagePrepare, Err: context.Cause(ctx)}
	}
	a.clear(order, name, progress)
	reach(progress, name, issuance.StageCreate, "the API server has not answered")
	if a.isHanging(order) {
		<-ctx.Done()
		return nil, progress.Err(context.Cause(ctx))
	}
	key, csr := pendingKey(pending)
	r, err := a.create(order, name, csr)
	if err != nil {
		return nil, &issuance.Error{Request: name, Stage: issuance.StageCreate, Err: err}
	}
	reach(progress, name, issuance.StageApprove, "no approver has decided")
	select {
	case <-r.decided:
	case <-ctx.Done():
		a.mu.Lock()
		lingers := a.behaves.lingers
		a.mu.Unlock()
		select {
		case <-r.decided:
		case <-time.After(lingers):
			return nil, progress.Err(context.Cause(ctx))
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.failure != nil {
		return nil, &issuance.Error{Request: name, Stage: issuance.StageApprove, Err: r.failure}
	}
	reach(progress, name, issuance.StageVerify, "")
	svid := &x509svid.SVID{ID: pending.ID, Certificates: []*x509.Certificate{r.signed}, PrivateKey: key}
	return &issuance.SVID{X509: svid, Request: name, Policy: order.Policy, Obtained: r.signedAt}, nil
}

func (a *api) isHanging(order issuance.Order) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.behaves.hangs != nil && a.behaves.hangs(order)
}

// clear deletes the other requests of a volume that are open.
func (a *api) clear(order issuance.Order, keep types.NamespacedName, progress *issuance.Progress) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, r := range a.requests {
		if name != keep && r.volume == issuance.VolumeLabel(order.VolumeID) && r.signed == nil && r.failure == nil {
			reach(progress, name, issuance.StageClear, "the API server has not answered")
			a.drop(r)
		}
	}
}

// create makes a request, unless it is there.
func (a *api) create(order issuance.Order, name types.NamespacedName, csr []byte) (*request, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.requests[name]; r != nil {
		if !bytes.Equal(r.csr, csr) {
			return nil, issuance.ErrNotOurs
		}
		return r, nil
	}
	if a.behaves.create != nil {
		if err := a.behaves.create(order); err != nil {
			return nil, err
		}
	}
	r := &request{
		Known:  issuance.Known{Request: name, UID: types.UID("uid-" + name.Name), Pod: issuance.PodOf(order.Pod), Created: time.Now()},
		volume: issuance.VolumeLabel(order.VolumeID), order: order, csr: csr, decided: make(chan struct{}),
	}
	a.requests[name] = r
	if a.onNew != nil {
		a.onNew(r.Known, r.volume)
	}
	if a.behaves.undecided == nil || !a.behaves.undecided(order) {
		var failure error
		if a.behaves.verdict != nil {
			failure = a.behaves.verdict(order)
		}
		a.settle(r, failure)
	}
	return r, nil
}

// drop deletes a request. The caller holds the lock.
func (a *api) drop(r *request) {
	delete(a.requests, r.Request)
	a.deleted = append(a.deleted, r.Request)
	if r.signed == nil && r.failure == nil {
		a.settle(r, issuance.ErrDeleted)
	}
}

// OfVolume implements [requests.API].
func (a *api) OfVolume(volumeID string, pod issuance.Pod) (known []issuance.Known) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests {
		if r.volume == issuance.VolumeLabel(volumeID) && r.Pod.Is(pod) {
			known = append(known, r.Known)
		}
	}
	slices.SortFunc(known, func(a, b issuance.Known) int { return b.Created.Compare(a.Created) })
	return known
}

// Delete implements [requests.API].
func (a *api) Delete(_ context.Context, ref issuance.Ref) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.behaves.delete != nil {
		if err := a.behaves.delete(ref.Name); err != nil {
			return err
		}
	}
	if r := a.requests[ref.Name]; r != nil && r.Pod.Is(ref.Pod) && (ref.UID == "" || ref.UID == r.UID) {
		a.drop(r)
	}
	return nil
}

// OnNew implements [manager.Requester].
func (a *api) OnNew(f func(request issuance.Known, volumeLabel string)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.onNew = f
}

// Start implements [manager.Requester]. It tells of the requests that are there.
func (a *api) Start(context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests {
		a.onNew(r.Known, r.volume)
	}
}

// asked returns the calls of Issue so far.
func (a *api) asked() []call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

// names returns the requests that there are.
func (a *api) names() (names []types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range a.requests {
		names = append(names, name)
	}
	return names
}

// mustHave fails the test unless there are so many requests.
func (a *api) mustHave(t *testing.T, n int) {
	t.Helper()
	if got := a.names(); len(got) != n {
		t.Errorf("the API server has the requests %v, want %d", got, n)
	}
}

// mustHaveAsked fails the test unless the managers have asked so often.
func (a *api) mustHaveAsked(t *testing.T, n int) {
	t.Helper()
	if got := a.asked(); len(got) != n {
		t.Errorf("asked %d times, want %d", len(got), n)
	}
}
