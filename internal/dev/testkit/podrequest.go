// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// RequestOf returns a CertificateRequest with a spec and, around it, what the
// driver puts around a request of the pod under a policy. It is to be created
// with the access of [Cluster.PodConfig].
func RequestOf(pod *corev1.Pod, p policy.Policy, spec cmapi.CertificateRequestSpec) *cmapi.CertificateRequest {
	annotations := p.Annotations.Map()
	annotations[policy.AnnotationHash] = p.Hash()
	return &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, GenerateName: pod.Name + "-", Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Pod", Name: pod.Name, UID: pod.UID,
			}},
		},
		Spec: spec,
	}
}
