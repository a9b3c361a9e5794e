// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestIssuance asks for a certificate as a ServiceAccount would and has it
// approved by a user who first may not and then may.
func TestIssuance(t *testing.T) {
	t.Parallel()
	admin := cluster(t)
	namespace := admin.createNamespace(t)
	admin.createIssuer(t, namespace)
	requester := admin.withToken(t, admin.createServiceAccount(t, namespace, "example-app"))
	const approver = "some-approver"
	admin.allow(t, approver, rbac.PolicyRule{
		APIGroups: []string{"cert-manager.io"},
		Resources: []string{"certificaterequests", "certificaterequests/status"},
		Verbs:     []string{"get", "update"},
	})

	request := requester.createRequest(t, namespace)
	if want := "system:serviceaccount:" + namespace + ":example-app"; request.Spec.Username != want {
		t.Errorf("spec.username is %q, want %q", request.Spec.Username, want)
	}
	if request.Spec.UID == "" || len(request.Spec.Groups) == 0 {
		t.Errorf("spec.uid is %q, spec.groups are %q", request.Spec.UID, request.Spec.Groups)
	}

	err := admin.as(t, approver).approve(t, request)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "webhook.cert-manager.io") {
		t.Fatalf("approving without the verb approve: %v, want a refusal by the webhook", err)
	}

	admin.allow(t, approver, rbac.PolicyRule{
		APIGroups:     []string{"cert-manager.io"},
		Resources:     []string{"signers"},
		Verbs:         []string{"approve"},
		ResourceNames: []string{"issuers.cert-manager.io/" + namespace + ".ca"},
	})
	// The webhook remembers a refusal for a second.
	eventually(t, "approval", func() bool { return admin.as(t, approver).approve(t, request) == nil })

	var signed *certmanager.CertificateRequest
	eventually(t, "the certificate", func() bool {
		signed, err = requester.cm.CertmanagerV1().CertificateRequests(namespace).Get(t.Context(), request.Name, meta.GetOptions{})
		return err == nil && len(signed.Status.Certificate) > 0
	})
	block, _ := pem.Decode(signed.Status.Certificate)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if len(cert.URIs) != 1 || cert.URIs[0].String() != "spiffe://example.org/test" || cert.Issuer.CommonName != "test CA" {
		t.Errorf("certificate names %v, issued by %v", cert.URIs, cert.Issuer)
	}
}

// createIssuer creates a CA Issuer "ca" and waits until it is ready.
func (c *clients) createIssuer(t *testing.T, namespace string) {
	t.Helper()
	secret := &core.Secret{ObjectMeta: meta.ObjectMeta{Name: "ca"}, Type: core.SecretTypeTLS, Data: newCA(t)}
	if _, err := c.core.CoreV1().Secrets(namespace).Create(t.Context(), secret, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	issuer := &certmanager.Issuer{ObjectMeta: meta.ObjectMeta{Name: "ca"}}
	issuer.Spec.CA = &certmanager.CAIssuer{SecretName: "ca"}
	issuers := c.cm.CertmanagerV1().Issuers(namespace)
	if _, err := issuers.Create(t.Context(), issuer, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the issuer to be ready", func() bool {
		issuer, err := issuers.Get(t.Context(), "ca", meta.GetOptions{})
		return err == nil && apiutil.IssuerHasCondition(issuer, certmanager.IssuerCondition{
			Type: certmanager.IssuerConditionReady, Status: cmmeta.ConditionTrue,
		})
	})
}

// createServiceAccount creates a ServiceAccount that may create and read
// CertificateRequests in its namespace, and returns a token for it.
func (c *clients) createServiceAccount(t *testing.T, namespace, name string) string {
	t.Helper()
	accounts := c.core.CoreV1().ServiceAccounts(namespace)
	account := &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name}}
	if _, err := accounts.Create(t.Context(), account, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.allow(t, "system:serviceaccount:"+namespace+":"+name, rbac.PolicyRule{
		APIGroups: []string{"cert-manager.io"},
		Resources: []string{"certificaterequests"},
		Verbs:     []string{"create", "get"},
	})
	token, err := accounts.CreateToken(t.Context(), name, &authentication.TokenRequest{}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// allow gives a user a permission in the whole cluster.
func (c *clients) allow(t *testing.T, user string, rule rbac.PolicyRule) {
	t.Helper()
	role := &rbac.ClusterRole{ObjectMeta: meta.ObjectMeta{GenerateName: "test-"}, Rules: []rbac.PolicyRule{rule}}
	role, err := c.core.RbacV1().ClusterRoles().Create(t.Context(), role, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	binding := &rbac.ClusterRoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: role.Name},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbac.Subject{{APIGroup: rbac.GroupName, Kind: rbac.UserKind, Name: user}},
	}
	if _, err := c.core.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// createRequest creates a CertificateRequest. It is tried again while RBAC has
// not taken notice of a new binding.
func (c *clients) createRequest(t *testing.T, namespace string) *certmanager.CertificateRequest {
	t.Helper()
	request := &certmanager.CertificateRequest{
		ObjectMeta: meta.ObjectMeta{GenerateName: "test-"},
		Spec: certmanager.CertificateRequestSpec{
			Request:   newCSR(t, "spiffe://example.org/test"),
			IssuerRef: cmmeta.IssuerReference{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"},
		},
	}
	var created *certmanager.CertificateRequest
	eventually(t, "permission to create a CertificateRequest", func() bool {
		var err error
		created, err = c.cm.CertmanagerV1().CertificateRequests(namespace).Create(t.Context(), request, meta.CreateOptions{})
		if err != nil && !apierrors.IsForbidden(err) {
			t.Fatal(err)
		}
		return err == nil
	})
	return created
}

// approve sets the condition Approved.
func (c *clients) approve(t *testing.T, request *certmanager.CertificateRequest) error {
	t.Helper()
	requests := c.cm.CertmanagerV1().CertificateRequests(request.Namespace)
	current, err := requests.Get(t.Context(), request.Name, meta.GetOptions{})
	if err != nil {
		return err
	}
	apiutil.SetCertificateRequestCondition(current, certmanager.CertificateRequestConditionApproved,
		cmmeta.ConditionTrue, "Test", "approved by a test")
	_, err = requests.UpdateStatus(t.Context(), current, meta.UpdateOptions{})
	return err
}
