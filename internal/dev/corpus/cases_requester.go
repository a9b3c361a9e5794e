// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"fmt"
	"strings"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

const (
	ownNamespace = "kubernetes.io/docs/concepts/security/service-accounts: a ServiceAccount is bound to a namespace"
	boundTokens  = "kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin, bound service account tokens"
	accountGroup = "kubernetes.io/docs/reference/access-authn-authz/authentication, service account tokens"
	ownerRule    = "kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents: an owner is in the namespace of its dependent"
)

// namespace has requests that are not in the namespace of the requester's
// ServiceAccount. They are made by controllers for whoever may create other
// objects in the request's namespace.
func (in maker) namespace() []Case {
	// as makes the case of a controller that asks for its own identity.
	as := func(name, why, controllerNamespace, account string, change func(*Case)) Case {
		return in.object("namespace-"+name, nil, why, ownNamespace, func(c *Case) {
			c.Spec.Request = csrtest.Good(in.keys.Main).With(
				csrtest.Names(csrtest.URI("spiffe://my.trust.domain/ns/" + controllerNamespace + "/sa/" + account))).PEM()
			c.Spec.Username, c.Spec.Groups = "system:serviceaccount:"+controllerNamespace+":"+account, groupsOf(controllerNamespace)
			c.Want = is(policy.ErrNamespace, policy.ErrGroups)
			change(c)
			c.Name = verdict(c.Want) + "namespace-" + name
		})
	}
	return []Case{
		as("of-a-certificate", "What cert-manager makes of a Certificate in a tenant's namespace, whose URI is cert-manager's own SPIFFE ID: the key would be in the tenant's Secret.",
			"cert-manager", "cert-manager", func(c *Case) {
				c.Meta.Annotations = map[string]string{
					"cert-manager.io/certificate-name": "gain", "cert-manager.io/certificate-revision": "1", "cert-manager.io/private-key-secret-name": "gain-x2b4z",
				}
				c.Meta.Labels = nil
				c.Meta.OwnerReferences = []metav1.OwnerReference{{APIVersion: "cert-manager.io/v1", Kind: "Certificate", Name: "gain", UID: podUID}}
				c.Spec.Extra[policy.ExtraPodName] = []string{"cert-manager-7d9f8c6b5-x2b4z"}
				c.Want = append(c.Want, policy.ErrOwner, policy.ErrAnnotations)
			}),
		as("of-a-controller", "What a controller makes that applies a tenant's manifests, such as Argo CD: the manifest names the tenant's pod as owner, and the token is that of the controller's pod.",
			"argocd", "argocd-application-controller", func(c *Case) {
				c.Spec.Extra = extraOf("argocd-application-controller-0", "00000000-1111-2222-3333-444444444444")
				c.Want = append(c.Want, policy.ErrOwner)
			}),
		as("of-a-controller-that-is-named-as-owner", "The same, and the manifest names the controller's pod as owner. It is in another namespace, so this owner does not exist.",
			"argocd", "argocd-application-controller", func(c *Case) {
				c.Spec.Extra = extraOf("argocd-application-controller-0", "00000000-1111-2222-3333-444444444444")
				c.Meta.OwnerReferences[0].Name, c.Meta.OwnerReferences[0].UID = "argocd-application-controller-0", "00000000-1111-2222-3333-444444444444"
			}),
		as("of-another-tenant", "A ServiceAccount of another namespace, with the right to make requests in this one, asks for its own identity here, where this namespace's users read the certificate.",
			"other", "example-app", func(*Case) {}),
		in.object("namespace-longer", is(policy.ErrNamespace, policy.ErrGroups), "A namespace whose name begins with the requester's.", ownNamespace,
			func(c *Case) { c.Meta.Namespace = "sandbox-2" }),
		in.object("namespace-shorter", is(policy.ErrNamespace, policy.ErrGroups), "A namespace whose name the requester's begins with.", ownNamespace,
			func(c *Case) { c.Meta.Namespace = "sand" }),
	}
}

// groups has requesters whose user name is a ServiceAccount's and whose groups
// are not: an authenticator with other user names than Kubernetes' own.
func (in maker) groups() []Case {
	set := func(name, why string, want []error, groups ...string) Case {
		return in.spec("groups-"+name, want, why, accountGroup, func(spec *cmapi.CertificateRequestSpec) { spec.Groups = groups })
	}
	const all, own = "system:serviceaccounts", "system:serviceaccounts:sandbox"
	return []Case{
		set("and-more", "Other groups beside those of every ServiceAccount give nothing.", nil, "system:masters", own, all),
		set("in-another-order", "The order of groups means nothing.", nil, own, all),
		set("none", "No groups: the user name is a ServiceAccount's, but the user is none.", is(policy.ErrGroups)),
		set("masters", "An administrator whose user name is a ServiceAccount's.", is(policy.ErrGroups), "system:masters", "system:authenticated"),
		set("without-all", "The group of all ServiceAccounts is missing.", is(policy.ErrGroups), own, "system:authenticated"),
		set("without-own", "The group of the namespace's ServiceAccounts is missing.", is(policy.ErrGroups), all, "system:authenticated"),
		set("of-another-namespace", "The group of another namespace.", is(policy.ErrGroups), all, "system:serviceaccounts:other"),
		set("prefixed", "The groups behind the prefix of an OIDC provider.", is(policy.ErrGroups), "oidc:"+all, "oidc:"+own),
		set("upper-case", "The groups in upper case.", is(policy.ErrGroups), strings.ToUpper(all), strings.ToUpper(own)),
	}
}

// extra has requesters whose token is not bound to one pod.
func (in maker) extra() []Case {
	set := func(name, why string, want []error, change func(extra map[string][]string)) Case {
		return in.object("extra-"+name, want, why, boundTokens, func(c *Case) {
			c.Meta.Labels = nil // The driver's labels need a token of a node, where the admission policies are installed.
			change(c.Spec.Extra)
		})
	}
	one, both := is(policy.ErrExtra), is(policy.ErrExtra, policy.ErrExtra)
	return []Case{
		set("of-a-node", "What the token of a pod on a node says of itself since Kubernetes 1.30.", nil, func(extra map[string][]string) {
			extra["authentication.kubernetes.io/node-uid"] = []string{"00000000-1111-2222-3333-444444444444"}
			extra["authentication.kubernetes.io/credential-id"] = []string{"JTI=00000000-1111-2222-3333-444444444444"}
		}),
		set("none", "A token that is bound to nothing: kubectl create token, or a Secret.", both, func(extra map[string][]string) { clear(extra) }),
		set("without-pod-name", "The name of the pod is missing.", one, func(extra map[string][]string) { delete(extra, policy.ExtraPodName) }),
		set("without-pod-uid", "The UID of the pod is missing.", one, func(extra map[string][]string) { delete(extra, policy.ExtraPodUID) }),
		set("pod-name-empty", "An empty name.", one, func(extra map[string][]string) { extra[policy.ExtraPodName] = []string{""} }),
		set("pod-uid-empty", "An empty UID.", one, func(extra map[string][]string) { extra[policy.ExtraPodUID] = []string{""} }),
		set("pod-names", "Two names, one of which is right.", one, func(extra map[string][]string) {
			extra[policy.ExtraPodName] = []string{podName, "web-1"}
		}),
		set("pod-uids", "Two UIDs, one of which is right.", one, func(extra map[string][]string) {
			extra[policy.ExtraPodUID] = []string{"00000000-1111-2222-3333-444444444444", podUID}
		}),
		set("pod-uid-twice", "The right UID, twice.", one, func(extra map[string][]string) { extra[policy.ExtraPodUID] = []string{podUID, podUID} }),
		set("of-another-key", "Keys that look like the right ones.", both, func(extra map[string][]string) {
			clear(extra)
			extra["kubernetes.io/pod-name"], extra["kubernetes.io/pod-uid"] = []string{podName}, []string{podUID}
		}),
	}
}

// owner has requests that are not owned by the pod of the requester's token.
func (in maker) owner() []Case {
	set := func(name, why string, change func(*metav1.OwnerReference)) Case {
		return in.object("owner-"+name, is(policy.ErrOwner), why, ownerRule, func(c *Case) { change(&c.Meta.OwnerReferences[0]) })
	}
	controller := in.object("owner-is-controller", nil, "What an owner reference says beside whose it is means nothing here.", ownerRule, func(c *Case) {
		yes := true
		c.Meta.OwnerReferences[0].Controller, c.Meta.OwnerReferences[0].BlockOwnerDeletion = &yes, &yes
	})
	return []Case{
		controller,
		in.object("owner-none", is(policy.ErrOwner), "No owner: the request would stay when the pod has gone.", ownerRule, func(c *Case) { c.Meta.OwnerReferences = nil }),
		in.object("owner-two", is(policy.ErrOwner), "The pod and another one: the request would stay as long as either.", ownerRule, func(c *Case) {
			second := owner()
			second.Name, second.UID = "web-1", "00000000-1111-2222-3333-444444444444"
			c.Meta.OwnerReferences = append(c.Meta.OwnerReferences, second)
		}),
		set("another-pod", "Another pod of the namespace.", func(o *metav1.OwnerReference) { o.Name, o.UID = "web-1", "00000000-1111-2222-3333-444444444444" }),
		set("earlier-pod", "A pod of the same name that was there before: a StatefulSet's, for instance.", func(o *metav1.OwnerReference) { o.UID = "00000000-1111-2222-3333-444444444444" }),
		set("another-name", "The UID of the pod under another name.", func(o *metav1.OwnerReference) { o.Name = "web-1" }),
		set("uid-upper-case", "The UID in upper case.", func(o *metav1.OwnerReference) { o.UID = types.UID(strings.ToUpper(podUID)) }),
		set("certificate", "A Certificate: cert-manager made the request.", func(o *metav1.OwnerReference) { o.APIVersion, o.Kind = "cert-manager.io/v1", "Certificate" }),
		set("other-kind", "A ConfigMap of the pod's name.", func(o *metav1.OwnerReference) { o.Kind = "ConfigMap" }),
		set("kind-lower-case", "The kind in lower case.", func(o *metav1.OwnerReference) { o.Kind = "pod" }),
		set("other-group", "A Pod of another group.", func(o *metav1.OwnerReference) { o.APIVersion = "example.org/v1" }),
	}
}

const issuerAnnotations = "cert-manager.io/docs/configuration/issuers: external issuers take profiles and fields from annotations"

// annotations has annotations that an issuer might read, and that the
// configuration does not list.
func (in maker) annotations() []Case {
	set := func(name, why string, want []error, change func(annotations map[string]string)) Case {
		return in.object("annotations-"+name, want, why, issuerAnnotations, func(c *Case) { change(c.Meta.Annotations) })
	}
	wrong := func(name, why, key, value string) Case {
		return set(name, why, is(policy.ErrAnnotations), func(annotations map[string]string) { annotations[key] = value })
	}
	return []Case{
		set("identity", "The SPIFFE ID, for people who read requests.", nil, func(annotations map[string]string) { annotations[policy.AnnotationIdentity] = csrtest.ID }),
		wrong("identity-of-another", "A SPIFFE ID that is not the one asked for: people would be misled.", policy.AnnotationIdentity, "spiffe://my.trust.domain/ns/kube-system/sa/admin"),
		set("without-stamp", "No stamp. Every driver sets one.", is(policy.ErrAnnotations), func(annotations map[string]string) { clear(annotations) }),
		wrong("stamp-empty", "An empty stamp.", policy.AnnotationHash, ""),
		wrong("stamp-short", "A stamp of 15 digits.", policy.AnnotationHash, "0123456789abcde"),
		wrong("stamp-upper-case", "A stamp in upper case.", policy.AnnotationHash, "0123456789ABCDEF"),
		wrong("stamp-of-4-kilobytes", "A stamp that fills memory.", policy.AnnotationHash, strings.Repeat("0", 4<<10)),
		wrong("ejbca-profile", "The certificate profile that an EJBCA issuer takes.", "ejbca-issuer.keyfactor.com/certificate-profile-name", "SubCA"),
		wrong("ejbca-ca", "The CA that an EJBCA issuer takes.", "ejbca-issuer.keyfactor.com/certificate-authority-name", "Root"),
		wrong("venafi-custom-fields", "Fields that a Venafi issuer takes.", cmapi.VenafiCustomFieldsAnnotationKey, `[{"name": "team", "value": "payments"}]`),
		wrong("selfsigned-key", "The Secret that the SelfSigned issuer signs with.", cmapi.CertificateRequestPrivateKeyAnnotationKey, "gain"),
		wrong("last-applied", "What kubectl apply leaves behind: nobody applies requests of the driver.", "kubectl.kubernetes.io/last-applied-configuration", "{}"),
		wrong("of-our-prefix", "A key of this project that does not exist.", "spiffe.csi.cert-manager.io/other", "x"),
		set("truncated", "The mark of a request that was too large to be kept whole.", is(policy.ErrTruncated), func(annotations map[string]string) {
			annotations[policy.AnnotationTruncated] = "spec.usages"
		}),
		set("many", "Two hundred annotations.", is(policy.ErrAnnotations), func(annotations map[string]string) {
			for i := range 200 {
				annotations[fmt.Sprintf("example.org/key-%d", i)] = "x"
			}
		}),
	}
}

// labels has labels that are not the driver's.
func (in maker) labels() []Case {
	set := func(name, why string, want []error, labels map[string]string) Case {
		return in.object("labels-"+name, want, why, issuerAnnotations, func(c *Case) { c.Meta.Labels = labels })
	}
	return []Case{
		set("none", "No labels: they are for the driver to find its requests again, and nothing is approved because of them.", nil, nil),
		set("of-a-named-driver", "The label of a driver of another name than the default.", nil, map[string]string{
			policy.LabelNode: "worker-1", policy.LabelDriver: "spiffe.example.org", policy.LabelVolume: "csi-0123456789abcdef",
		}),
		set("unknown", "A label that an issuer may read.", is(policy.ErrLabels), map[string]string{policy.LabelNode: "worker-1", "example.org/profile": "sub-ca"}),
		set("of-our-prefix", "A key of this project that does not exist.", is(policy.ErrLabels), map[string]string{"spiffe.csi.cert-manager.io/other": "x"}),
	}
}

// forOthers has whole requests to other issuers around which all is wrong.
func (in maker) forOthers() []Case {
	c := in.other("wrong-around-the-request", "A request to another issuer with nothing of what a request for an SVID has around it.",
		in.csr("", nil, "", "").Spec.IssuerRef, func(*cmapi.CertificateRequestSpec) {})
	c.Spec.IssuerRef.Name = "lets-encrypt"
	c.Meta = metav1.ObjectMeta{Namespace: namespace, Annotations: map[string]string{"example.org/a": "b"}}
	c.Spec.Username, c.Spec.Groups, c.Spec.Extra = "alice", nil, nil
	return []Case{c}
}

// sizes has requests that are as large as the API server lets them be in some
// place. Those that fill memory in other places are made by tests: they would be
// megabytes here.
func (in maker) sizes() []Case {
	return []Case{
		in.spec("size-usages", is(policy.ErrUsages), "2,000 usages: CertificateRequests have no limit on them.", usagesOfSVID, func(spec *cmapi.CertificateRequestSpec) {
			for range 2000 {
				spec.Usages = append(spec.Usages, cmapi.UsageAny)
			}
		}),
	}
}

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
