// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package spiffe

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/apimachinery/pkg/util/validation"
)

// ErrMalformedToken is wrapped when a token is not a signed JWT in compact form
// (RFC 7519) with claims that can be decoded.
var ErrMalformedToken = errors.New("malformed ServiceAccount token")

// ErrTokenClaims is wrapped when a token can be read, but its claims are not
// those of a Kubernetes ServiceAccount token that is bound to a pod.
var ErrTokenClaims = errors.New("not a pod-bound ServiceAccount token")

// maxTokenSize bounds the work done for a hostile token. Kubernetes' own are
// between one and two kilobytes.
const maxTokenSize = 64 << 10

// maxExpiry, the end of the year 9999 in seconds since 1970, is the last time
// that RFC 3339, and so JSON and YAML, can write.
const maxExpiry = 253402300799

// PodToken is what the claims of a pod's ServiceAccount token say.
type PodToken struct {
	// ServiceAccount is who the token speaks for.
	ServiceAccount ServiceAccount
	// PodName and PodUID name the pod that the token is bound to, in the
	// namespace of ServiceAccount. Neither is ever empty.
	PodName, PodUID string
	// NodeName is the node of that pod. It is empty on clusters that do not
	// put it into tokens (Kubernetes before 1.30).
	NodeName string
	// Expiry is when the token stops being accepted.
	Expiry time.Time
}

// claims are those that Kubernetes puts into a bound token.
// Source: kubernetes.io/docs/concepts/security/service-accounts and
// k8s.io/kubernetes/pkg/serviceaccount/claims.go.
type claims struct {
	jwt.Claims
	Kubernetes struct {
		Namespace      string `json:"namespace"`
		ServiceAccount object `json:"serviceaccount"`
		Pod            object `json:"pod"`
		Node           object `json:"node"`
	} `json:"kubernetes.io"`
}

type object struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// ParsePodToken reads the claims of a pod's ServiceAccount token as the kubelet
// hands it over.
//
// It does NOT verify the signature, nor the times: the result says what the
// token claims, and is good for addressing and labelling a request that is then
// made with this very token. The API server verifies it there, and a forged
// token gets nothing.
//
// An error wraps [ErrMalformedToken] or [ErrTokenClaims] and names the claim
// that is wrong. It never holds any part of the token, be it a claim's value,
// so it can be logged and shown to anybody.
func ParsePodToken(token string) (PodToken, error) {
	if len(token) > maxTokenSize {
		return PodToken{}, fmt.Errorf("%w: %d bytes long, at most %d are allowed", ErrMalformedToken, len(token), maxTokenSize)
	}
	if strings.ContainsFunc(token, notInToken) || strings.HasSuffix(token, ".") {
		return PodToken{}, fmt.Errorf("%w: it has characters that no JWT in compact form has, or no signature", ErrMalformedToken)
	}
	// The library's errors quote their input: none of them is passed on.
	signed, err := jwt.ParseSigned(token, signatureAlgorithms())
	if err != nil {
		return PodToken{}, fmt.Errorf("%w: not a JWT in compact form, signed with an asymmetric key", ErrMalformedToken)
	}
	var c claims
	if signed.UnsafeClaimsWithoutVerification(&c) != nil {
		return PodToken{}, fmt.Errorf("%w: its claims cannot be decoded", ErrMalformedToken)
	}
	return c.podToken()
}

func (c claims) podToken() (PodToken, error) {
	sa, err := ParseUsername(c.Subject)
	if err != nil {
		return PodToken{}, claimError("sub", "must be the user name of a ServiceAccount")
	}
	k := c.Kubernetes
	switch {
	case k.Namespace != sa.Namespace():
		return PodToken{}, claimError("kubernetes.io.namespace", "must be the namespace that claim sub names")
	case k.ServiceAccount.Name != sa.Name():
		return PodToken{}, claimError("kubernetes.io.serviceaccount.name", "must be the ServiceAccount that claim sub names")
	case len(validation.IsDNS1123Subdomain(k.Pod.Name)) > 0:
		return PodToken{}, claimError("kubernetes.io.pod.name", "must be the name of the pod that the token is bound to")
	case k.Pod.UID == "" || len(validation.IsValidLabelValue(k.Pod.UID)) > 0:
		return PodToken{}, claimError("kubernetes.io.pod.uid", "must be the UID of the pod that the token is bound to")
	case k.Node.Name != "" && len(validation.IsDNS1123Subdomain(k.Node.Name)) > 0:
		return PodToken{}, claimError("kubernetes.io.node.name", "must be the name of a node, or absent")
	case c.Expiry == nil || *c.Expiry <= 0 || *c.Expiry > maxExpiry:
		return PodToken{}, claimError("exp", "must say when the token expires")
	}
	return PodToken{
		ServiceAccount: sa,
		PodName:        k.Pod.Name,
		PodUID:         k.Pod.UID,
		NodeName:       k.Node.Name,
		Expiry:         c.Expiry.Time(),
	}, nil
}

// notInToken tells what is neither base64url nor a dot. The library skips line
// breaks, which must not get into the header of an HTTP request.
func notInToken(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
		return false
	default:
		return true
	}
}

func claimError(claim, rule string) error {
	return fmt.Errorf("%w: claim %s %s", ErrTokenClaims, claim, rule)
}

// signatureAlgorithms are all that an API server may sign with; which of them
// it accepts is for the API server to say.
func signatureAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512,
		jose.PS256, jose.PS384, jose.PS512,
		jose.ES256, jose.ES384, jose.ES512,
		jose.EdDSA,
	}
}
