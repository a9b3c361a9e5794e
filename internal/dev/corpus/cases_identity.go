// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"strings"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// ownName is why well-formed IDs are refused: they are somebody else's.
const ownName = "SPIFFE-ID standard, section 2.2: what a path means is for the operator to say, and here it is /ns/NAMESPACE/sa/NAME"

// identity has SPIFFE IDs of our trust domain that are not the requester's.
func (in maker) identity() []Case {
	var cases []Case
	for _, row := range []struct{ name, why, path string }{
		{"other-service-account", "Another ServiceAccount of the requester's namespace.", "/ns/sandbox/sa/admin"},
		{"other-namespace", "A ServiceAccount of the same name in another namespace.", "/ns/kube-system/sa/example-app"},
		{"other-namespace-and-service-account", "Another ServiceAccount in another namespace.", "/ns/kube-system/sa/admin"},
		{"service-account-longer", "A ServiceAccount whose name begins with the requester's.", "/ns/sandbox/sa/example-app-2"},
		{"service-account-shorter", "A ServiceAccount whose name the requester's begins with.", "/ns/sandbox/sa/example"},
		{"namespace-longer", "A namespace whose name begins with the requester's.", "/ns/sandbox-2/sa/example-app"},
		{"namespace-shorter", "A namespace whose name the requester's begins with.", "/ns/sand/sa/example-app"},
		{"service-account-upper-case", "The ServiceAccount in upper case: paths are case-sensitive.", "/ns/sandbox/sa/EXAMPLE-APP"},
		{"namespace-upper-case", "The namespace with one upper-case letter.", "/ns/Sandbox/sa/example-app"},
		{"keywords-upper-case", "NS and SA in upper case.", "/NS/sandbox/SA/example-app"},
		{"namespace-and-service-account-swapped", "Namespace and ServiceAccount have changed places.", "/ns/example-app/sa/sandbox"},
		{"keywords-swapped", "ns and sa have changed places.", "/sa/sandbox/ns/example-app"},
		{"parts-in-another-order", "The ServiceAccount comes first.", "/sa/example-app/ns/sandbox"},
		{"without-keywords", "Namespace and ServiceAccount alone.", "/sandbox/example-app"},
		{"without-service-account", "The ID of a namespace.", "/ns/sandbox"},
		{"without-service-account-name", "The ID of all ServiceAccounts of the namespace.", "/ns/sandbox/sa"},
		{"without-namespace", "The ID of a ServiceAccount of any namespace.", "/sa/example-app"},
		{"with-more-behind", "A segment behind the requester's ID: a reader who looks at the beginning takes it for the requester's.", "/ns/sandbox/sa/example-app/x"},
		{"with-more-before", "A segment before the requester's path.", "/x/ns/sandbox/sa/example-app"},
		{"with-the-path-twice", "The requester's path twice.", "/ns/sandbox/sa/example-app/ns/sandbox/sa/example-app"},
		{"of-a-pod", "The ID of a pod, as other systems have it.", "/ns/sandbox/pod/example-app"},
		{"of-a-node", "The ID of a SPIRE agent.", "/spire/agent/k8s_psat/cluster/1"},
		{"of-the-spire-server", "The ID of a SPIRE server.", "/spire/server"},
		{"of-istio", "The ID of Istio's control plane, which proxies obey.", "/ns/istio-system/sa/istiod"},
		{"underscore", "An underscore for the hyphen.", "/ns/sandbox/sa/example_app"},
		{"dots-like-segments", "Three dots, which are a name like any other.", "/ns/sandbox/sa/..."},
		{"digit-for-letter", "The digit 1 for the letter l.", "/ns/sandbox/sa/examp1e-app"},
	} {
		cases = append(cases, in.csr("identity-"+row.name, is(policy.ErrIdentity), row.why, ownName, csrtest.Names(csrtest.URI("spiffe://my.trust.domain"+row.path))))
	}
	return append(cases,
		in.csr("identity-2048-bytes", is(policy.ErrIdentity), "As long as an ID may be, and so well-formed; but no ServiceAccount has a name of that length.", idLength, csrtest.Names(csrtest.URI(longID(maxID)))),
	)
}

// trustDomain has the requester's path in another trust domain.
func (in maker) trustDomain() []Case {
	var cases []Case
	for _, row := range []struct{ name, why, trustDomain string }{
		{"other", "Another trust domain.", "evil.example"},
		{"sub-domain", "A sub-domain. Trust domains have no hierarchy.", "sub.my.trust.domain"},
		{"super-domain", "The domain above.", "trust.domain"},
		{"top-level", "The last label.", "domain"},
		{"longer", "A domain that begins with ours.", "my.trust.domain.evil.example"},
		{"suffix-without-dot", "A domain that ends with ours, but for the dot.", "notmy.trust.domain"},
		{"prefix", "A domain that ours begins with.", "my.trust.domai"},
		{"hyphens-for-dots", "Hyphens for the dots.", "my-trust-domain"},
		{"underscore", "An underscore for a dot.", "my_trust.domain"},
		{"punycode", "A look-alike in Punycode, which is ASCII and so well-formed: to browsers it is the domain with a Cyrillic o.", "my.trust.xn--dmain-0ye"},
		{"letters-rn-for-m", "The letters r and n for m.", "rny.trust.domain"},
		{"digit-for-letter", "The digit 0 for the letter o.", "my.trust.d0main"},
		{"ip-address", "An IPv4 address, which is a trust domain like any other.", "127.0.0.1"},
		{"empty-label-like-root", "A hyphen, which is well-formed.", "-"},
		{"255-bytes", "As long as a trust domain may be.", strings.Repeat("t", 255)},
	} {
		cases = append(cases, in.csr("trust-domain-"+row.name, is(policy.ErrTrustDomain, policy.ErrIdentity), row.why, idTrustDomain,
			csrtest.Names(csrtest.URI("spiffe://"+row.trustDomain+"/ns/sandbox/sa/example-app"))))
	}
	return cases
}
