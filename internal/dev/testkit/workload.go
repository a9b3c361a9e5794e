// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"fmt"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// Workload is what a pod with a volume of the driver needs around it.
type Workload struct {
	Namespace      string
	ServiceAccount string
	// Attributes are the volumeAttributes of the volume.
	Attributes map[string]string
	// FSGroup is the fsGroup of the pod, or nil.
	FSGroup *int64
	// Driver is the name of the CSI driver.
	Driver string
}

// CreateNamespace makes a namespace of the workload's name if there is none,
// and a ServiceAccount in it that may create CertificateRequests.
func (c *Cluster) CreateNamespace(ctx context.Context, w Workload) error {
	meta := metav1.ObjectMeta{Name: w.ServiceAccount, Namespace: w.Namespace}
	_, err := c.Kubernetes.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}}, metav1.CreateOptions{})
	if err == nil || apierrors.IsAlreadyExists(err) {
		_, err = c.Kubernetes.CoreV1().ServiceAccounts(w.Namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{})
	}
	if err == nil {
		_, err = c.Kubernetes.RbacV1().Roles(w.Namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"cert-manager.io"}, Resources: []string{"certificaterequests"}, Verbs: []string{"create"},
		}}}, metav1.CreateOptions{})
	}
	if err == nil {
		_, err = c.Kubernetes.RbacV1().RoleBindings(w.Namespace).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: w.ServiceAccount},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: w.ServiceAccount, Namespace: w.Namespace}},
		}, metav1.CreateOptions{})
	}
	return err
}

// VolumeName is the name of the driver's volume in pods that CreatePod makes.
const VolumeName = "spiffe"

// CreatePod makes a pod with a volume of the driver, assigned to node. Nothing
// runs it.
func (c *Cluster) CreatePod(ctx context.Context, w Workload, name, node string) (*corev1.Pod, error) {
	readOnly := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.Namespace},
		Spec: corev1.PodSpec{
			ServiceAccountName: w.ServiceAccount,
			NodeName:           node,
			Containers:         []corev1.Container{{Name: "app", Image: "app"}},
			SecurityContext:    &corev1.PodSecurityContext{FSGroup: w.FSGroup},
			Volumes: []corev1.Volume{{Name: VolumeName, VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
				Driver: w.Driver, ReadOnly: &readOnly, VolumeAttributes: w.Attributes,
			}}}},
		},
	}
	return c.Kubernetes.CoreV1().Pods(w.Namespace).Create(ctx, pod, metav1.CreateOptions{})
}

// token gets a token of a ServiceAccount, bound to pod unless that is nil.
func (c *Cluster) token(ctx context.Context, namespace, serviceAccount, audience string, pod *corev1.Pod, seconds int64) (*authv1.TokenRequestStatus, error) {
	request := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	if pod != nil {
		request.Spec.BoundObjectRef = &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	response, err := c.Kubernetes.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, serviceAccount, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("getting a token of ServiceAccount %s/%s: %w", namespace, serviceAccount, err)
	}
	return &response.Status, nil
}

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
