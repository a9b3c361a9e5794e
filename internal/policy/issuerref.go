// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"

	"github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

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
