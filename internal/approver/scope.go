// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// scope says which requests a watch is for: those for one issuer or, if that is
// zero, those for any.
type scope struct {
	issuer policy.IssuerRef
	// generation tells one watch on the requests for any issuer from the next.
	generation int
}

func (s scope) isAny() bool { return s.issuer == policy.IssuerRef{} }

func (s scope) includes(ref cmmeta.IssuerReference) bool {
	return s.isAny() || s.issuer.Names(ref)
}

func (s scope) String() string {
	if s.isAny() {
		return "all issuers"
	}
	return s.issuer.String()
}

// selector has the API server leave out the requests of other issuers, by the
// selectable fields of the CustomResourceDefinition (cert-manager from 1.18 on,
// Kubernetes from 1.32 on). It may let more through than the scope includes:
// a kind or group may be left out in a request for its default, and a selector
// can ask for one value only.
func (s scope) selector() string {
	if s.isAny() {
		return ""
	}
	const name, kind, group = "spec.issuerRef.name", "spec.issuerRef.kind", "spec.issuerRef.group"
	terms := []fields.Selector{fields.OneTermEqualSelector(name, s.issuer.Name)}
	if s.issuer.Kind == "" || s.issuer.Kind == cmapi.IssuerKind {
		terms = append(terms, fields.OneTermNotEqualSelector(kind, cmapi.ClusterIssuerKind))
	} else {
		terms = append(terms, fields.OneTermEqualSelector(kind, s.issuer.Kind))
	}
	if s.issuer.Group != "" && s.issuer.Group != certmanager.GroupName {
		terms = append(terms, fields.OneTermEqualSelector(group, s.issuer.Group))
	}
	return fields.AndSelectors(terms...).String()
}
