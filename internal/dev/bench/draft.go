// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// draft is what can be ready before a pod needs a certificate.
type draft struct {
	meta   metav1.ObjectMeta
	id     spiffeid.ID
	key    crypto.Signer
	policy policy.Policy
	// requester creates the request.
	requester cmclient.Interface
}

// draft makes one for a pod, with access as the pod: the API server has to check
// each token that it has not seen.
func (f *floor) draft(pod *corev1.Pod, access *rest.Config) (draft, error) {
	d, err := f.bareDraft()
	if err != nil {
		return draft{}, err
	}
	d.meta.Labels = map[string]string{
		issuance.LabelNode:   f.node,
		issuance.LabelVolume: issuance.VolumeLabel(testkit.VolumeID(pod, testkit.VolumeName)),
	}
	f.own(&d, pod)
	d.requester, err = cmclient.NewForConfig(access)
	return d, err
}

// own puts around a draft what the approver demands of a pod's request.
func (f *floor) own(d *draft, pod *corev1.Pod) {
	around := testkit.RequestOf(pod, d.policy, cmapi.CertificateRequestSpec{})
	d.meta.Annotations, d.meta.OwnerReferences = around.Annotations, around.OwnerReferences
}

func (f *floor) bareDraft() (draft, error) {
	f.mu.Lock()
	d := draft{meta: metav1.ObjectMeta{Namespace: f.namespace, Name: "floor-" + utilrand.String(10)}, policy: f.policy}
	f.mu.Unlock()
	var err error
	if d.id, err = d.policy.SPIFFEID(f.account); err == nil {
		d.key, err = d.policy.Key.Generate()
	}
	return d, err
}

// sign makes the request, which only has to be created then.
func (d draft) sign() (*cmapi.CertificateRequest, error) {
	csrPEM, err := csr.Build(d.id, d.key)
	if err != nil {
		return nil, err
	}
	return &cmapi.CertificateRequest{ObjectMeta: d.meta, Spec: d.policy.CertificateRequestSpec(d.id, csrPEM)}, nil
}

// request makes one of the floor's own pod, for what is not about its creation.
func (f *floor) request() (*cmapi.CertificateRequest, error) {
	d, err := f.bareDraft()
	if err != nil {
		return nil, err
	}
	f.own(&d, f.pod)
	return d.sign()
}
