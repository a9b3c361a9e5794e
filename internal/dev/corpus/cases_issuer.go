// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"strings"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

const issuerReference = "cert-manager v1.20, pkg/apis/meta/v1, IssuerReference"

// issuer has requests to other issuers: whatever is in them, they are somebody
// else's to decide. A reference names our issuer when name, kind and group are
// the same, letter case included, once the defaults are filled in.
func (in maker) issuer() []Case {
	var cases []Case
	for _, row := range []struct {
		name, why string
		ref       cmmeta.IssuerReference
	}{
		{"name", "Another issuer.", cmmeta.IssuerReference{Name: "lets-encrypt", Kind: "ClusterIssuer", Group: "cert-manager.io"}},
		{"name-upper-case", "Our name in upper case: Kubernetes' names are case-sensitive.", cmmeta.IssuerReference{Name: strings.ToUpper(IssuerName), Kind: "ClusterIssuer", Group: "cert-manager.io"}},
		{"name-longer", "A name that begins with ours.", cmmeta.IssuerReference{Name: IssuerName + "-2", Kind: "ClusterIssuer", Group: "cert-manager.io"}},
		{"name-shorter", "A name that ours begins with.", cmmeta.IssuerReference{Name: "csi-driver-spiffe", Kind: "ClusterIssuer", Group: "cert-manager.io"}},
		{"name-with-space", "A space behind our name.", cmmeta.IssuerReference{Name: IssuerName + " ", Kind: "ClusterIssuer", Group: "cert-manager.io"}},
		{"name-empty", "No name.", cmmeta.IssuerReference{Kind: "ClusterIssuer", Group: "cert-manager.io"}},
		{"kind", "An Issuer of our ClusterIssuer's name.", cmmeta.IssuerReference{Name: IssuerName, Kind: "Issuer", Group: "cert-manager.io"}},
		{"kind-empty", "No kind, which means Issuer.", cmmeta.IssuerReference{Name: IssuerName, Group: "cert-manager.io"}},
		{"kind-lower-case", "The kind in lower case, which is another one.", cmmeta.IssuerReference{Name: IssuerName, Kind: "clusterissuer", Group: "cert-manager.io"}},
		{"kind-plural", "The resource in the place of the kind.", cmmeta.IssuerReference{Name: IssuerName, Kind: "clusterissuers", Group: "cert-manager.io"}},
		{"kind-unknown", "A kind of somebody else's.", cmmeta.IssuerReference{Name: IssuerName, Kind: "AWSPCAClusterIssuer", Group: "cert-manager.io"}},
		{"kind-and-group-empty", "Neither kind nor group: an Issuer of cert-manager.io.", cmmeta.IssuerReference{Name: IssuerName}},
		{"group", "A ClusterIssuer of another group.", cmmeta.IssuerReference{Name: IssuerName, Kind: "ClusterIssuer", Group: "awspca.cert-manager.io"}},
		{"group-upper-case", "The group in upper case, which is another one.", cmmeta.IssuerReference{Name: IssuerName, Kind: "ClusterIssuer", Group: "Cert-Manager.io"}},
		{"group-with-version", "The group with its version.", cmmeta.IssuerReference{Name: IssuerName, Kind: "ClusterIssuer", Group: "cert-manager.io/v1"}},
		{"group-longer", "A group that ends with ours.", cmmeta.IssuerReference{Name: IssuerName, Kind: "ClusterIssuer", Group: "my-cert-manager.io"}},
		{"group-trailing-dot", "A dot behind the group.", cmmeta.IssuerReference{Name: IssuerName, Kind: "ClusterIssuer", Group: "cert-manager.io."}},
	} {
		cases = append(cases, in.other("issuer-"+row.name, row.why, row.ref, func(*cmapi.CertificateRequestSpec) {}))
	}
	return append(cases,
		in.other("wrong-in-every-way", "A request to another issuer that asks for everything: it is still not ours to decide.",
			cmmeta.IssuerReference{Name: "lets-encrypt", Kind: "ClusterIssuer", Group: "cert-manager.io"},
			func(spec *cmapi.CertificateRequestSpec) {
				spec.Username, spec.IsCA, spec.Duration, spec.Usages = "alice", true, nil, []cmapi.KeyUsage{cmapi.UsageAny}
			}),
		in.other("without-request", "A request to another issuer that asks for nothing.",
			cmmeta.IssuerReference{Name: "lets-encrypt", Kind: "ClusterIssuer", Group: "cert-manager.io"},
			func(spec *cmapi.CertificateRequestSpec) { spec.Request = nil }),
	)
}

func (in maker) other(name, why string, ref cmmeta.IssuerReference, change func(*cmapi.CertificateRequestSpec)) Case {
	c := in.spec(name, nil, why, issuerReference, change)
	c.Name = "other-" + name
	c.Spec.IssuerRef = ref
	return c
}
