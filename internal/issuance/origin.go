// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"slices"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// Pod is the pod that a request is made for, and in whose name. A field that is not
// known is empty.
type Pod struct{ Namespace, ServiceAccount, Name, UID string }

// PodOf returns the pod of a token.
func PodOf(token spiffe.PodToken) Pod {
	return Pod{token.ServiceAccount.Namespace(), token.ServiceAccount.Name(), token.PodName, token.PodUID}
}

// Is reports whether p has all the fields that are set in want. An empty want matches
// every pod.
func (p Pod) Is(want Pod) bool {
	same := func(got, want string) bool { return want == "" || got == want }
	return same(p.Namespace, want.Namespace) && same(p.ServiceAccount, want.ServiceAccount) && same(p.Name, want.Name) && same(p.UID, want.UID)
}

// Ref is one CertificateRequest, whatever gets its name later.
type Ref struct {
	Name types.NamespacedName
	// UID is empty where it is not known: when the answer to the request's creation
	// was lost, or belonged to an earlier process.
	UID types.UID
	// Pod is whom the request was made for.
	Pod Pod
}

// originOf returns the pod in whose name a request was made, and whether there is
// proof of that: cert-manager's webhook has noted that the request was made with a
// token bound to a pod of the request's namespace, and that pod owns the request.
//
// Labels and owner references are proof of nothing, as everybody who may create
// requests in the namespace can set them. What the webhook notes (spec.username,
// spec.extra) is set from the authenticated user and cannot be changed afterwards.
// A pod that has been taken over can make such requests with its own token: what
// becomes of them concerns that pod's volumes, and no others.
func originOf(request *cmapi.CertificateRequest) (Pod, bool) {
	const longest = 253 // of names in Kubernetes; UIDs are shorter
	account, err := spiffe.ParseUsername(request.Spec.Username)
	names, uids := request.Spec.Extra[policy.ExtraPodName], request.Spec.Extra[policy.ExtraPodUID]
	if err != nil || account.Namespace() != request.Namespace || len(names) != 1 || len(uids) != 1 {
		return Pod{}, false
	}
	pod := Pod{account.Namespace(), account.Name(), names[0], uids[0]}
	if pod.Name == "" || len(pod.Name) > longest || pod.UID == "" || len(pod.UID) > longest {
		return Pod{}, false
	}
	owned := slices.ContainsFunc(request.OwnerReferences, func(owner metav1.OwnerReference) bool {
		return owner.APIVersion == "v1" && owner.Kind == "Pod" && owner.Name == pod.Name && string(owner.UID) == pod.UID
	})
	return pod, owned
}
