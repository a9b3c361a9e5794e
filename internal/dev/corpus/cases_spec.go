// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"math"
	"slices"
	"strings"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

const (
	usagesOfSVID = "X.509-SVID standard, sections 4.3 and 4.4"
	leafIsNoCA   = "X.509-SVID standard, section 4.1"
)

// usages has spec.usages that are not the four, once each.
func (in maker) usages() []Case {
	set := func(name, why string, usages ...cmapi.KeyUsage) Case {
		return in.spec("usages-"+name, is(policy.ErrUsages), why, usagesOfSVID, func(spec *cmapi.CertificateRequestSpec) { spec.Usages = usages })
	}
	dashed := func(usage cmapi.KeyUsage) string { return strings.ReplaceAll(string(usage), " ", "-") }
	four := policy.Usages()
	var cases []Case
	for i, usage := range four {
		cases = append(cases,
			set("without-"+dashed(usage), "Three of the four: "+string(usage)+" is missing.", slices.Delete(slices.Clone(four), i, i+1)...),
			set("only-"+dashed(usage), "One of the four.", usage),
			set("repeated-"+dashed(usage), "The four, and "+string(usage)+" a second time.", append(slices.Clone(four), usage)...),
		)
	}
	for _, usage := range []cmapi.KeyUsage{
		cmapi.UsageSigning, cmapi.UsageContentCommitment, cmapi.UsageKeyAgreement, cmapi.UsageDataEncipherment, cmapi.UsageCertSign,
		cmapi.UsageCRLSign, cmapi.UsageEncipherOnly, cmapi.UsageDecipherOnly, cmapi.UsageAny, cmapi.UsageCodeSigning,
		cmapi.UsageEmailProtection, cmapi.UsageSMIME, cmapi.UsageIPsecEndSystem, cmapi.UsageIPsecTunnel, cmapi.UsageIPsecUser,
		cmapi.UsageTimestamping, cmapi.UsageOCSPSigning, cmapi.UsageMicrosoftSGC, cmapi.UsageNetscapeSGC,
	} {
		cases = append(cases, set("and-"+strings.ReplaceAll(dashed(usage), "/", "-"), "The four, and "+string(usage)+".", append(slices.Clone(four), usage)...))
	}
	return append(cases,
		set("absent", "None: cert-manager would then put in its own, without server auth and client auth."),
		set("one-instead-of-another", "Four, but one is there twice and one is missing.", four[0], four[1], four[2], four[2]),
		set("signing-for-digital-signature", "signing in the place of digital signature: the same bit by another name, which spells one request in two ways.", cmapi.UsageSigning, four[1], four[2], four[3]),
		set("upper-case", "Digital Signature in upper case.", "Digital Signature", four[1], four[2], four[3]),
		set("with-space", "A space behind one of them.", "digital signature ", four[1], four[2], four[3]),
		set("with-dashes", "Hyphens for spaces.", "digital-signature", "key-encipherment", "server-auth", "client-auth"),
		set("joined-by-comma", "All four in one text.", "digital signature,key encipherment,server auth,client auth"),
		set("unknown", "The four, and one that nobody knows.", append(slices.Clone(four), "world domination")...),
		set("empty-text", "The four, and an empty one.", append(slices.Clone(four), "")...),
	)
}

// duration has durations that are not the policy's hour.
func (in maker) duration() []Case {
	const why = " The policy demands 1h0m0s, to the nanosecond."
	set := func(name, what string, length time.Duration) Case {
		return in.spec("duration-"+name, is(policy.ErrDuration), what+why, "", func(spec *cmapi.CertificateRequestSpec) {
			spec.Duration = &metav1.Duration{Duration: length}
		})
	}
	return []Case{
		in.spec("duration-absent", is(policy.ErrDuration), "None: cert-manager would then take 90 days."+why, "cert-manager v1.20, DefaultCertificateDuration",
			func(spec *cmapi.CertificateRequestSpec) { spec.Duration = nil }),
		set("nanosecond-longer", "A nanosecond longer.", duration+1),
		set("nanosecond-shorter", "A nanosecond shorter.", duration-1),
		set("second-longer", "A second longer.", duration+time.Second),
		set("second-shorter", "A second shorter.", duration-time.Second),
		set("half", "Half an hour.", duration/2),
		set("twice", "Two hours.", 2*duration),
		set("day", "A day.", 24*time.Hour),
		set("ninety-days", "cert-manager's default.", 90*24*time.Hour),
		set("ten-years", "Ten years.", 87600*time.Hour),
		set("longest", "The longest that there is, 292 years.", math.MaxInt64),
		set("zero", "None at all.", 0),
		set("nanosecond", "A nanosecond.", 1),
		set("negative", "An hour back.", -duration),
		set("most-negative", "The number that has no opposite.", math.MinInt64),
	}
}

// isCA has requests for a CA's certificate.
func (in maker) isCA() []Case {
	return []Case{
		in.spec("is-ca", is(policy.ErrIsCA), "The requester asks to become a CA: it could then make any SVID.", leafIsNoCA, func(spec *cmapi.CertificateRequestSpec) { spec.IsCA = true }),
		in.spec("is-ca-with-cert-sign", is(policy.ErrIsCA, policy.ErrUsages), "The requester asks to become a CA, with the usage that goes with it.", leafIsNoCA,
			func(spec *cmapi.CertificateRequestSpec) {
				spec.IsCA, spec.Usages = true, append(spec.Usages, cmapi.UsageCertSign)
			}),
		in.spec("everything-around-the-request", is(policy.ErrUsername, policy.ErrIsCA, policy.ErrDuration, policy.ErrUsages, policy.ErrIdentity),
			"All that can be wrong around a good PKCS #10 request is wrong, and all of it is said.", "",
			func(spec *cmapi.CertificateRequestSpec) {
				spec.Username, spec.IsCA, spec.Duration, spec.Usages = "alice", true, nil, nil
			}),
	}
}

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
