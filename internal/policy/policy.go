// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// KeySpec says which key an SVID has: see [csr.KeySpec].
type KeySpec = csr.KeySpec

// Algorithm is a kind of key, spelled as cert-manager does: see [csr.Algorithm].
type Algorithm = csr.Algorithm

// The supported algorithms.
const (
	ECDSA   = csr.ECDSA
	RSA     = csr.RSA
	Ed25519 = csr.Ed25519
)

// ErrPolicy is wrapped by errors about a [Policy] that is not whole, which no
// request can satisfy.
var ErrPolicy = errors.New("policy is not whole")

// Policy is what an SVID must be. Values are immutable, comparable and passed
// in; the zero value, like any that fails [Policy.Validate], approves nothing.
type Policy struct {
	// TrustDomain is the trust domain of every SPIFFE ID.
	TrustDomain spiffeid.TrustDomain
	// IssuerRef is the issuer whose requests the policy is about.
	IssuerRef IssuerRef
	// Key is the kind and size of every key.
	Key KeySpec
	// Duration is the lifetime that is asked for, to the nanosecond. It is
	// more than zero.
	Duration time.Duration
	// Annotations are those that a request must have beside the driver's own.
	Annotations Annotations
	// IgnoredAnnotations and IgnoredLabels may be on a request as well, with any
	// value: an admission webhook of the cluster adds them. The driver makes
	// requests without them, and they are no part of [Policy.Hash].
	IgnoredAnnotations, IgnoredLabels Keys
}

// Validate returns nil if a request can satisfy the policy, and otherwise an
// error that wraps [ErrPolicy] and names the first field that is missing or wrong.
func (p Policy) Validate() error {
	switch err := p.Key.Validate(); {
	case p.TrustDomain.IsZero():
		return fmt.Errorf("%w: it has no trust domain", ErrPolicy)
	case p.IssuerRef.Name == "":
		return fmt.Errorf("%w: its issuerRef has no name", ErrPolicy)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrPolicy, err)
	case p.Duration <= 0:
		return fmt.Errorf("%w: its duration is %s, must be more than zero", ErrPolicy, p.Duration)
	default:
		return nil
	}
}

// IssuerRef names an issuer. An empty Kind means Issuer, and an empty Group
// means cert-manager.io, in configuration and request alike.
// Source: cert-manager v1.20, pkg/apis/meta/v1, IssuerReference.
type IssuerRef struct {
	// Name is the issuer's name. It must not be empty.
	Name string
	// Kind is Issuer, ClusterIssuer, or whatever an external group calls its own.
	Kind string
	// Group is the API group of Kind.
	Group string
}

// String returns "KIND.GROUP/NAME" with the defaults filled in, such as
// "ClusterIssuer.cert-manager.io/my-ca".
func (r IssuerRef) String() string {
	r = r.Defaulted()
	return fmt.Sprintf("%s.%s/%s", r.Kind, r.Group, r.Name)
}

// Names reports whether ref, as it stands in a CertificateRequest, is a reference to r. Letter case counts, as it does
// for the API server. A nameless r is referred to by nothing.
func (r IssuerRef) Names(ref cmmeta.IssuerReference) bool {
	other := IssuerRef{Name: ref.Name, Kind: ref.Kind, Group: ref.Group}
	return r.Name != "" && r.Defaulted() == other.Defaulted()
}

// Defaulted returns the reference with Kind and Group filled in.
func (r IssuerRef) Defaulted() IssuerRef {
	if r.Kind == "" {
		r.Kind = cmapi.IssuerKind
	}
	if r.Group == "" {
		r.Group = certmanager.GroupName
	}
	return r
}

// Usages returns the usages that a request must have, in no particular order
// but all of them, once each. Both serverAuth and clientAuth are set because a
// workload is now the one and now the other (X.509-SVID standard, section 4.4).
func Usages() []cmapi.KeyUsage {
	return []cmapi.KeyUsage{
		cmapi.UsageDigitalSignature,
		cmapi.UsageKeyEncipherment,
		cmapi.UsageServerAuth,
		cmapi.UsageClientAuth,
	}
}

// CertificateRequestSpec returns what to ask cert-manager for: an SVID for id,
// by the request csrPEM that [csr.Build] made for that id. The user fields are
// left empty, as cert-manager's webhook fills them with who creates the object.
//
// What id is follows from csrPEM. It is a parameter so that a later policy can
// give different IDs different issuers or lifetimes.
func (p Policy) CertificateRequestSpec(_ spiffeid.ID, csrPEM []byte) cmapi.CertificateRequestSpec {
	ref := p.IssuerRef.Defaulted()
	return cmapi.CertificateRequestSpec{
		Duration:  &metav1.Duration{Duration: p.Duration},
		IssuerRef: cmmeta.IssuerReference{Name: ref.Name, Kind: ref.Kind, Group: ref.Group},
		Request:   csrPEM,
		IsCA:      false,
		Usages:    Usages(),
	}
}

// SPIFFEID returns the SPIFFE ID that the ServiceAccount has under the policy:
// see [spiffe.ServiceAccount.ID].
func (p Policy) SPIFFEID(sa spiffe.ServiceAccount) (spiffeid.ID, error) {
	return sa.ID(p.TrustDomain)
}

// IdentityHash names what makes SVIDs of the policy what they are, all but how
// long they last and the annotations of their requests: SVIDs of another
// IdentityHash are replaced when the policy changes, and others can wait until
// they are due. Its form is that of Hash.
func (p Policy) IdentityHash() string {
	p.Duration, p.Annotations = 0, Annotations{}
	return p.Hash()
}

// hashLength is the number of characters in what [Policy.Hash] returns.
const hashLength = 16

// Hash names the policy: 16 hexadecimal digits, the same for equal policies in
// every process and version as long as the same is demanded. It is for telling
// policies apart in annotations and logs; nothing may be allowed because of it.
func (p Policy) Hash() string {
	ref := p.IssuerRef.Defaulted()
	demanded := fmt.Sprintf("policy/v1 %q %q %q %q %q %d %d %q",
		p.TrustDomain.String(), ref.Name, ref.Kind, ref.Group,
		string(p.Key.Algorithm), p.Key.Size, p.Duration.Nanoseconds(), Usages())
	if p.Annotations != (Annotations{}) {
		demanded += fmt.Sprintf(" %q", p.Annotations.encoded)
	}
	sum := sha256.Sum256([]byte(demanded))
	return hex.EncodeToString(sum[:hashLength/2])
}
