// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"cmp"
	"slices"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
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

// Known is a request that the watch knows of, and of which there is proof that it was
// made in the name of a pod.
type Known struct {
	Request types.NamespacedName
	UID     types.UID
	// Pod is the one in whose name it was made.
	Pod Pod
	// Created is when it was created, in whole seconds, by the API server's clock.
	Created time.Time
	// Issued is whether it has brought a certificate.
	Issued bool
}

// Ref returns which request it is.
func (k Known) Ref() Ref { return Ref{k.Request, k.UID, k.Pod} }

// knownRequest is what is kept of a request. A node has some for each volume, and
// whoever may create requests can have the driver know of any number, of any size.
type knownRequest struct {
	metav1.PartialObjectMetadata
	// open is whether it may still bring a certificate, issued whether it has.
	open, issued bool
	// pod is the one in whose name it was made, of which there is proof.
	pod Pod
}

func (k *knownRequest) asKnown() Known {
	return Known{nameOf(k), k.UID, k.pod, k.CreationTimestamp.Time, k.issued}
}

// OfVolume returns the requests of a volume that its pod has made and that the watch
// knows of, the latest first; those of the same second by their names. Requests of
// others that have the volume's label are not among them. Of no pod (the zero value)
// all count that some pod has made.
func (r *Requester) OfVolume(volumeID string, pod Pod) []Known {
	requests := r.tracker.ofVolume(volumeID, pod)
	known := make([]Known, len(requests))
	for i, request := range requests {
		known[i] = request.asKnown()
	}
	slices.SortFunc(known, func(a, b Known) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Request.String(), b.Request.String()))
	})
	return known
}

// shorten returns nil for a request without proof that it is the driver's. Once
// proven, a request stays proven, even if its owner references change.
func shorten(request *cmapi.CertificateRequest, before *knownRequest) *knownRequest {
	pod, proven := originOf(request)
	switch {
	case before != nil:
		pod = before.pod
	case !proven:
		return nil
	}
	_, done, failure := outcome(request)
	return &knownRequest{
		pod: pod,
		PartialObjectMetadata: metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: request.Namespace, Name: request.Name, UID: request.UID, CreationTimestamp: request.CreationTimestamp,
			Labels: map[string]string{LabelVolume: request.Labels[LabelVolume]}, DeletionTimestamp: request.DeletionTimestamp,
		}},
		open:   !done,
		issued: done && failure == nil,
	}
}

// summary is as much of a request as its short form is made of.
type summary struct{ *cmapi.CertificateRequest }

// reduce returns the summary of a request, unless somebody waits for the whole. Who
// begins to wait after that is told that there is news, and asks for it.
func (t *tracker) reduce(request *cmapi.CertificateRequest) runtime.Object {
	t.mu.Lock()
	_, awaited := t.waiters[nameOf(request)]
	t.mu.Unlock()
	if awaited {
		return request
	}
	return summarize(request)
}

func summarize(request *cmapi.CertificateRequest) summary {
	short := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: request.Namespace, Name: request.Name, UID: request.UID, ResourceVersion: request.ResourceVersion,
			CreationTimestamp: request.CreationTimestamp, DeletionTimestamp: request.DeletionTimestamp,
			Labels: map[string]string{LabelVolume: request.Labels[LabelVolume]}, OwnerReferences: request.OwnerReferences,
		},
		// Who made it.
		Spec: cmapi.CertificateRequestSpec{Username: request.Spec.Username, Extra: request.Spec.Extra},
	}
	if fields, ok := request.Annotations[certrequest.AnnotationTruncated]; ok {
		short.Annotations = map[string]string{certrequest.AnnotationTruncated: fields}
	}
	for _, c := range request.Status.Conditions {
		short.Status.Conditions = append(short.Status.Conditions, cmapi.CertificateRequestCondition{Type: c.Type, Status: c.Status, Reason: c.Reason})
	}
	if len(request.Status.Certificate) > 0 {
		short.Status.Certificate = []byte("(there is one)")
	}
	return summary{short}
}
