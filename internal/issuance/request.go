// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package issuance

import (
	"context"
	"encoding/json"
	"errors"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/spiffe"
)

// The names under which a CertificateRequest says whose it is.
const (
	// LabelNode is the node whose driver made the request.
	LabelNode = policy.LabelNode
	// LabelDriver is the name of the CSI driver that made the request, unless it
	// has the default name.
	LabelDriver = policy.LabelDriver
	// LabelVolume is the CSI volume that the request is for.
	LabelVolume = policy.LabelVolume
	// AnnotationIdentity is the SPIFFE ID that is asked for. It is for people:
	// nothing is approved because of it.
	AnnotationIdentity = policy.AnnotationIdentity
)

// Order is everything that a request is made from.
type Order struct {
	// Policy is what the request must be like.
	Policy policy.Policy
	// Token is the pod's ServiceAccount token, for the API server.
	Token Token
	// Pod is what the token says of the pod.
	Pod spiffe.PodToken
	// Owner is the driver that makes the request.
	Owner Owner
	// VolumeID is the CSI volume ID.
	VolumeID string
}

// certificateRequest makes the object that is created in the API server. It is
// owned by the pod, so that it goes when the pod does.
func (o Order) certificateRequest(pending *Pending) *cmapi.CertificateRequest {
	return &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   pending.Request.Namespace,
			Name:        pending.Request.Name,
			Annotations: o.Policy.RequestAnnotations(pending.ID),
			Labels:      o.labels(),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: corev1.SchemeGroupVersion.String(),
				Kind:       "Pod",
				Name:       o.Pod.PodName,
				UID:        types.UID(o.Pod.PodUID),
			}},
		},
		Spec: o.Policy.CertificateRequestSpec(pending.ID, pending.csrPEM),
	}
}

func (o Order) labels() map[string]string {
	all := o.Owner.labels()
	all[LabelVolume] = labelValue(o.VolumeID)
	return all
}

// create makes a request, and returns its UID. It does so without the retries of
// client-go, of which nobody would hear the reason. What comes back is otherwise what
// was sent, and is not decoded; what becomes of it comes by the watch.
func create(ctx context.Context, client cmclient.Interface, request *cmapi.CertificateRequest) (types.UID, error) {
	result := client.CertmanagerV1().RESTClient().Post().Namespace(request.Namespace).Resource("certificaterequests").
		Body(request).MaxRetries(0).Do(ctx)
	if err := result.Error(); err != nil {
		return "", err
	}
	body, err := result.Raw()
	if err != nil {
		return "", err
	}
	var created struct {
		Metadata struct {
			UID types.UID `json:"uid"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(body, &created); err != nil || created.Metadata.UID == "" {
		return "", errNoUID
	}
	return created.Metadata.UID, nil
}

// errNoUID means that a request may have been made, and nobody can tell which.
var errNoUID = errors.New("the API server's answer does not say which object was created")

// requestName is the pod's name, for the people who list requests, and a random
// suffix, since a pod has many requests in its life.
func requestName(pod string) string {
	const suffix, most = 10, 253 // RFC 1123 subdomain, as Kubernetes names are
	pod = pod[:min(len(pod), most-suffix-1)]
	return trimEnd(pod) + "-" + utilrand.String(suffix)
}
