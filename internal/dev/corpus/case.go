// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"crypto"
	"fmt"
	"slices"
	"strings"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// What a good request is about, as testdata/requests/config.yaml has it.
const (
	// IssuerName is the ClusterIssuer of every request that is ours to decide.
	IssuerName = "csi-driver-spiffe-ca"
	// Username is the requester, who has the SPIFFE ID [csrtest.ID].
	Username = "system:serviceaccount:sandbox:example-app"

	namespace = "sandbox"
	duration  = time.Hour
	podName   = "web-0"
	nodeName  = "worker-1"
	podUID    = "5a1e0b5c-8f0d-4c77-9d0e-3f1a2b4c5d6e"
)

// extraNodeName is the key of spec.extra for the node of the requester's pod, since
// Kubernetes 1.30.
const extraNodeName = "authentication.kubernetes.io/node-name"

// Case is one CertificateRequest and what must become of it.
type Case struct {
	// Name is that of the file, without the ending. It begins with "good-",
	// "bad-" or "other-", the last for requests to another issuer, and goes on
	// to say what is the matter.
	Name string
	// Why says in sentences what is in the request and what could come of it.
	Why string
	// Source is where a standard settles the case. It is empty where none does,
	// and then Why says why the request is refused all the same.
	Source string
	// Want holds the sentinel errors of packages csr and policy that the
	// request must be denied with: all of them, in this order.
	Want []error
	// Key is the key that the policy demands. If zero, it is that of the
	// configuration file.
	Key csr.KeySpec
	// Meta and Spec are the request, as it is after cert-manager's webhook saw
	// it. Of Meta, the name is that of the case.
	Meta metav1.ObjectMeta
	Spec cmapi.CertificateRequestSpec
}

// Cases returns every case, sorted by name.
func Cases(keys csrtest.Keys) []Case {
	in := maker{keys}
	cases := slices.Concat(
		in.good(), in.goodKeys(), in.pem(), in.der(), in.subject(), in.subjectForms(),
		in.key(), in.keyForms(), in.keyRSA(), in.keyOfOtherKind(), in.signature(), in.signatureForms(), in.attributes(),
		in.extensions(), in.extensionForms(), in.usageExtensions(), in.sanTypes(), in.sanForms(), in.uri(), in.uriPath(), in.uriLookAlikes(),
		in.identity(), in.trustDomain(), in.username(), in.usernameForms(), in.usages(), in.duration(), in.isCA(), in.issuer(),
		in.namespace(), in.groups(), in.extra(), in.owner(), in.annotations(), in.labels(), in.forOthers(), in.sizes(),
	)
	slices.SortFunc(cases, func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
	return cases
}

// maker makes cases with the keys.
type maker struct{ keys csrtest.Keys }

// is makes lists of errors readable.
func is(sentinels ...error) []error { return sentinels }

// request is the good CertificateRequest with another PKCS #10 request in it.
func request(pem []byte) cmapi.CertificateRequestSpec {
	return cmapi.CertificateRequestSpec{
		Duration:  &metav1.Duration{Duration: duration},
		IssuerRef: cmmeta.IssuerReference{Name: IssuerName, Kind: "ClusterIssuer", Group: "cert-manager.io"},
		Request:   pem,
		Usages:    policy.Usages(),
		Username:  Username,
		Groups:    groupsOf(namespace),
		Extra:     extraOf(podName, podUID),
	}
}

// extraOf is what the token of a pod brings along.
func extraOf(podName, podUID string) map[string][]string {
	return map[string][]string{policy.ExtraPodName: {podName}, policy.ExtraPodUID: {podUID}, extraNodeName: {nodeName}}
}

// groupsOf are those of a ServiceAccount of a namespace.
func groupsOf(namespace string) []string {
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
}

// meta is what is around the good CertificateRequest.
func meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:       namespace,
		Annotations:     map[string]string{policy.AnnotationHash: "0123456789abcdef"},
		Labels:          map[string]string{policy.LabelNode: nodeName, policy.LabelVolume: "csi-0123456789abcdef"},
		OwnerReferences: []metav1.OwnerReference{owner()},
	}
}

func owner() metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: podName, UID: podUID}
}

// csr makes a case of the good PKCS #10 request, changed.
func (in maker) csr(name string, want []error, why, source string, changes ...csrtest.Mutation) Case {
	return in.csrBy(in.keys.Main, name, want, why, source, changes...)
}

// csrBy is csr with another key, which the policy then demands.
func (in maker) csrBy(key crypto.Signer, name string, want []error, why, source string, changes ...csrtest.Mutation) Case {
	c := Case{
		Name: verdict(want) + name, Why: why, Source: source, Want: want,
		Meta: meta(), Spec: request(csrtest.Good(key).With(changes...).PEM()),
	}
	if demanded := csr.KeySpecOf(key.Public()); demanded != csr.KeySpecOf(in.keys.Main.Public()) {
		c.Key = demanded
	}
	return c
}

// spec makes a case of the good CertificateRequest, changed around the PKCS #10
// request.
func (in maker) spec(name string, want []error, why, source string, change func(*cmapi.CertificateRequestSpec)) Case {
	c := in.csr(name, want, why, source)
	change(&c.Spec)
	return c
}

// object makes a case of the good CertificateRequest with anything changed.
func (in maker) object(name string, want []error, why, source string, change func(*Case)) Case {
	c := in.csr(name, want, why, source)
	change(&c)
	return c
}

func verdict(want []error) string {
	if len(want) > 0 {
		return "bad-"
	}
	return "good-"
}

// concat joins strings and byte slices.
func concat(parts ...any) []byte {
	var joined []byte
	for _, part := range parts {
		joined = fmt.Appendf(joined, "%s", part)
	}
	return joined
}

// must panics: a table that cannot be made is itself wrong.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
