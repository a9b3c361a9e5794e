// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// TestControllersAskAsTheirServiceAccount has cert-manager's controllers create a
// CertificateRequest, in each way that makes them do so.
func TestControllersAskAsTheirServiceAccount(t *testing.T) {
	t.Parallel()
	admin := cluster(t)
	namespace := admin.createNamespace(t)
	annotations := map[string]string{certmanager.IngressIssuerNameAnnotationKey: "none"}
	for name, create := range map[string]func() error{
		"certificate": func() error {
			certificate := &certmanager.Certificate{
				ObjectMeta: meta.ObjectMeta{Name: "certificate"},
				Spec: certmanager.CertificateSpec{
					SecretName: "certificate", DNSNames: []string{"certificate.example.org"},
					IssuerRef: cmmeta.IssuerReference{Name: "none"},
				},
			}
			_, err := admin.cm.CertmanagerV1().Certificates(namespace).Create(t.Context(), certificate, meta.CreateOptions{})
			return err
		},
		"ingress": func() error {
			ingress := &networking.Ingress{
				ObjectMeta: meta.ObjectMeta{Name: "ingress", Annotations: annotations},
				Spec: networking.IngressSpec{
					DefaultBackend: &networking.IngressBackend{Service: &networking.IngressServiceBackend{Name: "app", Port: networking.ServiceBackendPort{Number: 443}}},
					TLS:            []networking.IngressTLS{{Hosts: []string{"ingress.example.org"}, SecretName: "ingress"}},
				},
			}
			_, err := admin.core.NetworkingV1().Ingresses(namespace).Create(t.Context(), ingress, meta.CreateOptions{})
			return err
		},
		"gateway": func() error {
			gateway := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
				"metadata": map[string]any{"name": "gateway", "annotations": map[string]any{certmanager.IngressIssuerNameAnnotationKey: "none"}},
				"spec": map[string]any{"gatewayClassName": "none", "listeners": []any{map[string]any{
					"name": "https", "hostname": "gateway.example.org", "port": int64(443), "protocol": "HTTPS",
					"tls": map[string]any{"mode": "Terminate", "certificateRefs": []any{map[string]any{"name": "gateway"}}},
				}}},
			}}
			client, err := dynamic.NewForConfig(admin.config)
			if err != nil {
				return err
			}
			resource := schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}
			_, err = client.Resource(resource).Namespace(namespace).Create(t.Context(), gateway, meta.CreateOptions{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := create(); err != nil {
				t.Fatal(err)
			}
			requireAskedByCertManager(t, admin, namespace, name)
		})
	}
}

// requireAskedByCertManager asserts that the CertificateRequest of the Certificate
// of that name was created with the token of cert-manager's Pod.
func requireAskedByCertManager(t *testing.T, admin *clients, namespace, certificate string) {
	t.Helper()
	var spec certmanager.CertificateRequestSpec
	eventually(t, "a CertificateRequest of Certificate "+certificate, func() bool {
		list, err := admin.cm.CertmanagerV1().CertificateRequests(namespace).List(t.Context(), meta.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, request := range list.Items {
			if request.Annotations[certmanager.CertificateNameKey] == certificate {
				spec = request.Spec
				return true
			}
		}
		return false
	})
	if want := "system:serviceaccount:cert-manager:cert-manager"; spec.Username != want {
		t.Errorf("spec.username is %q, want %q", spec.Username, want)
	}
	if want := []string{"cert-manager"}; !slices.Equal(spec.Extra["authentication.kubernetes.io/pod-name"], want) {
		t.Errorf("spec.extra is %v, want the pod-name %v", spec.Extra, want)
	}
}
