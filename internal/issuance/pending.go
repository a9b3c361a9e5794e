// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
)

// ErrBadPending is returned for what is no pending request, or one of another
// version of this program.
var ErrBadPending = errors.New("not a pending request")

// pendingVersion is the version of the format of [Pending.Marshal].
const pendingVersion = 1

// Pending is a request that has been made ready and not been answered: its name
// and its key. Whoever keeps it can go on with the same request after a crash,
// or after an answer of the API server was lost, instead of making another one.
// It holds a private key.
type Pending struct {
	// Request is the name that the CertificateRequest has, or will have.
	Request types.NamespacedName
	// ID is the SPIFFE ID that is asked for.
	ID spiffeid.ID

	// IdentityHash and Duration are those of the policy it was made under.
	IdentityHash string
	Duration     time.Duration

	// Pod is the one that it is made for.
	Pod Pod

	policyHash string
	key        crypto.Signer
	csrPEM     []byte
}

// Prepare makes the key and the CSR for an order. Errors are of type [*Error].
func (o Order) Prepare() (*Pending, error) {
	p, err := o.prepare()
	if err != nil {
		return nil, &Error{Stage: StagePrepare, Err: err}
	}
	return p, nil
}

func (o Order) prepare() (*Pending, error) {
	id, err := o.Policy.SPIFFEID(o.Pod.ServiceAccount)
	if err != nil {
		return nil, err
	}
	key, err := o.Policy.Key.Generate()
	if err != nil {
		return nil, err
	}
	csrPEM, err := csr.Build(id, key)
	if err != nil {
		return nil, err
	}
	return &Pending{
		Request: types.NamespacedName{Namespace: o.Pod.ServiceAccount.Namespace(), Name: requestName(o.Pod.PodName)},
		ID:      id, IdentityHash: o.Policy.IdentityHash(), Duration: o.Policy.Duration,
		Pod: PodOf(o.Pod), policyHash: o.Policy.Hash(), key: key, csrPEM: csrPEM,
	}, nil
}

// PolicyHash identifies the policy that the request was made under; see [policy.Policy.Hash].
func (p *Pending) PolicyHash() string { return p.policyHash }

// Owns reports whether a public key is that of the request.
func (p *Pending) Owns(key crypto.PublicKey) bool {
	own, ok := p.key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && own.Equal(key)
}

// isIn reports whether a request is the one that is pending: it has the CSR, which
// others can read and copy, and there is proof that it was made in the pod's name.
func (p *Pending) isIn(request *cmapi.CertificateRequest, pod Pod) bool {
	origin, proven := originOf(request)
	return proven && origin.Is(pod) && bytes.Equal(request.Spec.Request, p.csrPEM)
}

// LogValue keeps the key out of logs.
func (p *Pending) LogValue() slog.Value { return slog.StringValue(p.Request.String()) }

// pendingFile is the form of [Pending.Marshal].
type pendingFile struct {
	Version      int           `json:"version"`
	Namespace    string        `json:"namespace"`
	Name         string        `json:"name"`
	SPIFFEID     string        `json:"spiffeID"`
	PodUID       string        `json:"podUID"`
	PodName      string        `json:"podName,omitempty"`
	Account      string        `json:"serviceAccount,omitempty"`
	PolicyHash   string        `json:"policyHash"`
	IdentityHash string        `json:"identityHash"`
	Duration     time.Duration `json:"duration"`
	PrivateKey   string        `json:"privateKey"`
	CSR          string        `json:"csr"`
}

// Marshal returns the request with its private key, for a file that only root
// reads, in memory.
func (p *Pending) Marshal() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, err
	}
	return json.Marshal(pendingFile{ //nolint:gosec // The key belongs into that file.
		pendingVersion, p.Request.Namespace, p.Request.Name, p.ID.String(), p.Pod.UID, p.Pod.Name, p.Pod.ServiceAccount, p.policyHash, p.IdentityHash, p.Duration,
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), string(p.csrPEM),
	})
}

// UnmarshalPending is the inverse of [Pending.Marshal]. The error wraps
// [ErrBadPending] and quotes nothing of data.
func UnmarshalPending(data []byte) (*Pending, error) {
	var file pendingFile
	if json.Unmarshal(data, &file) != nil {
		return nil, fmt.Errorf("%w: no JSON", ErrBadPending)
	}
	if file.Version != pendingVersion {
		return nil, fmt.Errorf("%w: version %d, this program reads version %d", ErrBadPending, file.Version, pendingVersion)
	}
	id, err := spiffeid.FromString(file.SPIFFEID)
	if err != nil || file.Namespace == "" || file.Name == "" {
		return nil, fmt.Errorf("%w: incomplete", ErrBadPending)
	}
	block, _ := pem.Decode([]byte(file.PrivateKey))
	if block == nil {
		return nil, fmt.Errorf("%w: no private key", ErrBadPending)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("%w: no private key", ErrBadPending)
	}
	return &Pending{
		Request: types.NamespacedName{Namespace: file.Namespace, Name: file.Name}, ID: id,
		IdentityHash: file.IdentityHash, Duration: file.Duration,
		Pod: Pod{file.Namespace, file.Account, file.PodName, file.PodUID}, policyHash: file.PolicyHash, key: signer, csrPEM: []byte(file.CSR),
	}, nil
}
