// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package spiffe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"k8s.io/apimachinery/pkg/util/validation"
)

// ErrNotServiceAccount is wrapped by every error about a name that is not the
// name of a Kubernetes ServiceAccount.
var ErrNotServiceAccount = errors.New("not a Kubernetes ServiceAccount")

// ErrID is wrapped when a ServiceAccount has no SPIFFE ID: the trust domain is
// missing, the ServiceAccount is the zero value, or the ID would be too long.
var ErrID = errors.New("no SPIFFE ID")

// MaxIDLength is the greatest length of a SPIFFE ID in bytes, scheme and all.
// Source: SPIFFE-ID standard, section 2.3.
const MaxIDLength = 2048

// usernamePrefix begins the user name of every ServiceAccount, and Kubernetes
// lets nobody else be called so.
// Source: kubernetes.io/docs/reference/access-authn-authz/authentication,
// "Service account tokens".
const usernamePrefix = "system:serviceaccount:"

// ServiceAccount names one Kubernetes ServiceAccount. Values come from
// [NewServiceAccount], [ParseUsername] and [ParsePodToken] alone and are valid;
// the zero value names none and has no SPIFFE ID. Values are comparable.
type ServiceAccount struct {
	namespace, name string
}

// NewServiceAccount returns the ServiceAccount called name in namespace.
// As Kubernetes demands, a namespace is a DNS label (RFC 1123, at most 63
// characters) and a name is a DNS subdomain (at most 253); anything else is
// refused with an error that wraps [ErrNotServiceAccount].
func NewServiceAccount(namespace, name string) (ServiceAccount, error) {
	if faults := validation.IsDNS1123Label(namespace); len(faults) > 0 {
		return ServiceAccount{}, fmt.Errorf("%w: namespace %+.64q: %s", ErrNotServiceAccount, namespace, faults[0])
	}
	if faults := validation.IsDNS1123Subdomain(name); len(faults) > 0 {
		return ServiceAccount{}, fmt.Errorf("%w: name %+.254q: %s", ErrNotServiceAccount, name, faults[0])
	}
	return ServiceAccount{namespace: namespace, name: name}, nil
}

// ParseUsername returns the ServiceAccount that has the Kubernetes user name
// "system:serviceaccount:NAMESPACE:NAME". Every other user name is refused with
// an error that wraps [ErrNotServiceAccount].
func ParseUsername(username string) (ServiceAccount, error) {
	rest, ok := strings.CutPrefix(username, usernamePrefix)
	if !ok {
		return ServiceAccount{}, fmt.Errorf("%w: user name %+.80q does not begin with %q",
			ErrNotServiceAccount, username, usernamePrefix)
	}
	namespace, name, ok := strings.Cut(rest, ":")
	if !ok {
		return ServiceAccount{}, fmt.Errorf("%w: user name %+.80q has no name after the namespace",
			ErrNotServiceAccount, username)
	}
	return NewServiceAccount(namespace, name)
}

// Namespace returns the namespace that the ServiceAccount lives in.
func (sa ServiceAccount) Namespace() string { return sa.namespace }

// Name returns the ServiceAccount's name within its namespace.
func (sa ServiceAccount) Name() string { return sa.name }

// IsZero reports whether sa is the zero value, which names no ServiceAccount.
func (sa ServiceAccount) IsZero() bool { return sa == ServiceAccount{} }

// Username returns the name that Kubernetes knows the ServiceAccount by as a
// user; [ParseUsername] is its inverse. The zero value has none: "".
func (sa ServiceAccount) Username() string {
	if sa.IsZero() {
		return ""
	}
	return usernamePrefix + sa.namespace + ":" + sa.name
}

// String returns "NAMESPACE/NAME", for messages. The zero value gives "".
func (sa ServiceAccount) String() string {
	if sa.IsZero() {
		return ""
	}
	return sa.namespace + "/" + sa.name
}

// ID returns the SPIFFE ID of the ServiceAccount in the trust domain:
// spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME. An error wraps [ErrID].
func (sa ServiceAccount) ID(td spiffeid.TrustDomain) (spiffeid.ID, error) {
	if sa.IsZero() {
		return spiffeid.ID{}, fmt.Errorf("%w: no ServiceAccount is named", ErrID)
	}
	if td.IsZero() {
		return spiffeid.ID{}, fmt.Errorf("%w of ServiceAccount %s: no trust domain is configured", ErrID, sa)
	}
	id, err := spiffeid.FromSegments(td, "ns", sa.namespace, "sa", sa.name)
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("%w of ServiceAccount %s: %w", ErrID, sa, err)
	}
	if n := len(id.String()); n > MaxIDLength {
		return spiffeid.ID{}, fmt.Errorf("%w of ServiceAccount %s: it would be %d bytes long, at most %d are allowed",
			ErrID, sa, n, MaxIDLength)
	}
	return id, nil
}
