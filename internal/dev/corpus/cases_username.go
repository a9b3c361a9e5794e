// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"strings"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

const (
	usernames    = "kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin: system:serviceaccount:NAMESPACE:NAME"
	accountNames = "kubernetes.io/docs/concepts/overview/working-with-objects/names: a namespace is a DNS label, a ServiceAccount's name a DNS subdomain"
)

// username has requesters who are no ServiceAccount and so have no SPIFFE ID.
// cert-manager's webhook sets spec.username to who creates the request.
func (in maker) username() []Case {
	none := func(name, why, username string) Case {
		return in.spec("username-"+name, is(policy.ErrUsername, policy.ErrIdentity), why, usernames, func(spec *cmapi.CertificateRequestSpec) { spec.Username = username })
	}
	another := func(name, why, username string, also ...error) Case {
		return in.spec("username-"+name, append(also, policy.ErrIdentity), why, ownName, func(spec *cmapi.CertificateRequestSpec) { spec.Username = username })
	}
	return []Case{
		none("empty", "Nobody: the webhook has not seen the request.", ""),
		none("blank", "A space.", " "),
		none("person", "A person.", "alice"),
		none("email", "A person, as OIDC names them.", "alice@example.org"),
		none("kubernetes-admin", "The administrator that kubeadm makes.", "kubernetes-admin"),
		none("node", "A node, that is, its kubelet.", "system:node:worker-1"),
		none("node-called-like-an-account", "A node of an account's name.", "system:node:sandbox:example-app"),
		none("anonymous", "Somebody who is not authenticated.", "system:anonymous"),
		none("api-server", "The API server itself.", "system:apiserver"),
		none("controller-manager", "The controller manager.", "system:kube-controller-manager"),
		none("bootstrap-token", "A node that is joining.", "system:bootstrap:07401b"),
		none("group-of-service-accounts", "The name of a group.", "system:serviceaccounts:sandbox"),
		none("all-service-accounts", "The name of the group of all ServiceAccounts.", "system:serviceaccounts"),
		none("spiffe-id", "The SPIFFE ID as a user name.", "spiffe://my.trust.domain/ns/sandbox/sa/example-app"),
		none("namespace-and-name", "Namespace and name without the prefix.", "sandbox:example-app"),
		none("oidc-prefix", "A ServiceAccount's user name behind the prefix of an OIDC provider.", "oidc:"+Username),
		none("of-openshift", "A user with colons in the name.", "system:serviceaccount-token:sandbox:example-app"),
		another("driver", "The driver itself, which asks in the pod's name and never in its own.", "system:serviceaccount:cert-manager:csi-driver-spiffe", policy.ErrNamespace),
		another("other-namespace", "The ServiceAccount of the same name in another namespace.", "system:serviceaccount:other:example-app", policy.ErrNamespace),
		another("other-service-account", "Another ServiceAccount of the namespace.", "system:serviceaccount:sandbox:other"),
		another("namespace-and-name-swapped", "Namespace and name have changed places.", "system:serviceaccount:example-app:sandbox", policy.ErrNamespace),
		another("parts-as-dots", "A name with a dot where the ID has a hyphen.", "system:serviceaccount:sandbox:example.app"),
	}
}

// usernameForms has user names that look like a ServiceAccount's.
func (in maker) usernameForms() []Case {
	var cases []Case
	for _, row := range []struct{ name, why, username string }{
		{"prefix-only", "The prefix alone.", "system:serviceaccount:"},
		{"prefix-without-colon", "The prefix without its last colon.", "system:serviceaccount"},
		{"without-name", "A namespace without name.", "system:serviceaccount:sandbox"},
		{"name-empty", "An empty name.", "system:serviceaccount:sandbox:"},
		{"namespace-empty", "An empty namespace.", "system:serviceaccount::example-app"},
		{"both-empty", "An empty namespace and an empty name.", "system:serviceaccount::"},
		{"trailing-colon", "A colon at the end.", Username + ":"},
		{"fifth-part", "A part behind the name.", Username + ":admin"},
		{"double-colon", "Two colons between namespace and name.", "system:serviceaccount:sandbox::example-app"},
		{"prefix-upper-case", "The prefix in upper case.", "SYSTEM:SERVICEACCOUNT:sandbox:example-app"},
		{"namespace-upper-case", "The namespace with an upper-case letter.", "system:serviceaccount:Sandbox:example-app"},
		{"name-upper-case", "The name with an upper-case letter.", "system:serviceaccount:sandbox:Example-app"},
		{"space-before", "A space before the user name.", " " + Username},
		{"space-after", "A space behind the user name.", Username + " "},
		{"space-within", "A space within.", "system:serviceaccount: sandbox:example-app"},
		{"line-break-after", "A line break behind the user name.", Username + "\n"},
		{"nul-after", "A NUL behind the user name.", Username + "\x00"},
		{"slash-for-colon", "A slash between namespace and name.", "system:serviceaccount:sandbox/example-app"},
		{"slash-in-name", "A path in the name.", "system:serviceaccount:sandbox:x/../example-app"},
		{"slash-in-namespace", "A path in the namespace.", "system:serviceaccount:x/../sandbox:example-app"},
		{"dot-segment-name", "A name that goes up.", "system:serviceaccount:sandbox:.."},
		{"dot-in-namespace", "A dot in the namespace.", "system:serviceaccount:sand.box:example-app"},
		{"underscore", "An underscore in the name.", "system:serviceaccount:sandbox:example_app"},
		{"escape", "A letter in percent-encoding.", "system:serviceaccount:sandbox:example%2dapp"},
		{"asterisk", "An asterisk.", "system:serviceaccount:sandbox:*"},
		{"hyphen-first", "A name that begins with a hyphen.", "system:serviceaccount:sandbox:-example-app"},
		{"look-alike", "A Cyrillic letter in the name.", "system:serviceaccount:sandbox:ex\u0430mple-app"},
		{"colon-look-alike", "A colon of another script.", "system:serviceaccount:sandbox\uff1aexample-app"},
		{"namespace-of-64-bytes", "A namespace of one byte more than it may have.", "system:serviceaccount:" + strings.Repeat("n", 64) + ":example-app"},
		{"name-of-254-bytes", "A name of one byte more than it may have.", "system:serviceaccount:sandbox:" + strings.Repeat("a", 254)},
		{"of-4-kilobytes", "A user name that is long enough to fill a message.", "system:serviceaccount:sandbox:" + strings.Repeat("a", 4096)},
	} {
		cases = append(cases, in.spec("username-form-"+row.name, is(policy.ErrUsername, policy.ErrIdentity), row.why, accountNames,
			func(spec *cmapi.CertificateRequestSpec) { spec.Username = row.username }))
	}
	return cases
}
