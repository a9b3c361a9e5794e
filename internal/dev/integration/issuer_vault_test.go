// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/standin"
)

// vaultRole is what manifests/issuers.md says that a role must have, for the default
// kind of key.
func vaultRole() standin.VaultRole {
	role := standin.DefaultVaultRole()
	role.AllowedURISANs = []string{"spiffe://" + trustDomain + "/ns/*/sa/*"}
	role.RequireCN = false
	role.KeyType, role.KeyBits = "ec", 521
	return role
}

// startWithVault makes cert-manager's Vault issuer the one of a world, with a server
// whose role signs with an intermediate CA, and starts approver and driver.
func (w *world) startWithVault(role standin.VaultRole) {
	w.t.Helper()
	intermediate, err := w.ca.NewIntermediate("vault")
	w.check(err)
	vault, err := standin.NewVault(intermediate, role)
	w.check(err)
	w.t.Cleanup(vault.Close)
	name := w.issuer + "-vault"
	_, err = w.Kubernetes.CoreV1().Secrets(testkit.InstallNamespace).Create(w.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"token": vault.Token},
	}, metav1.CreateOptions{})
	w.check(err)
	w.check(w.CreateClusterIssuerOf(w.t.Context(), name, cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{Vault: &cmapi.VaultIssuer{
		Server: vault.URL, Path: standin.VaultPath,
		Auth: cmapi.VaultAuth{TokenSecretRef: &cmmeta.SecretKeySelector{LocalObjectReference: cmmeta.LocalObjectReference{Name: name}, Key: "token"}},
	}}}))
	w.startWithIssuer("issuerRef: {name: "+name+"}", "clusterissuers.cert-manager.io/"+name)
}

// startWithIssuer starts approver and driver for another issuer than the world's own.
func (w *world) startWithIssuer(issuerRef, signer string) {
	w.t.Helper()
	var err error
	w.installation, err = w.Install(w.t.Context(), repository, "-"+w.issuer, signer)
	w.check(err)
	w.config = w.changedConfig(issuerRef)
	w.startApprover()
	w.startDriver()
}

// requireRenewalsAfter asserts that each of the world's volumes came from a single
// request and is renewed once, within a time that is reckoned from now.
func (w *world) requireRenewalsAfter(earliest, latest time.Duration) {
	w.t.Helper()
	volumes := w.list()
	for pod, volume := range volumes {
		if left := time.Until(volume.NextRenewal); left < earliest || left > latest {
			w.t.Errorf("%s: the next renewal is in %s (%s), want it in %s to %s", pod, left, volume.NextRenewal, earliest, latest)
		}
	}
	if requests := len(w.requests()); requests != len(volumes) {
		w.t.Errorf("%d requests for %d volumes", requests, len(volumes))
	}
}

func TestVaultIssuer(t *testing.T) {
	w := prepare(t)
	w.startWithVault(vaultRole())
	svid := w.readSVID(w.publish(w.pod("web-0")))
	w.verify(svid)
	if n := len(svid.Certificates); n != 2 {
		t.Errorf("%d certificates in the chain, want the leaf and the intermediate CA, without the root", n)
	}
	if back := time.Since(svid.Certificates[0].NotBefore); back < 30*time.Second {
		t.Errorf("dated back by %s, want 30 s", back)
	}
	w.requireRenewalsAfter(19*time.Minute, 41*time.Minute)
}

// What a role may have beside what it needs does not disturb: it dates further back
// than the SVID is to last, signs for less, and adds an organization.
func TestVaultRoleWithQuirks(t *testing.T) {
	w := prepare(t, func(*world) string { return "certificate: {duration: 2h}" })
	role := vaultRole()
	role.NotBeforeDuration, role.MaxTTL = 3*time.Hour, 30*time.Minute
	role.Organization = []string{"Example"}
	w.startWithVault(role)
	for _, name := range []string{"web-0", "web-1", "web-2"} {
		svid := w.readSVID(w.publish(w.pod(name)))
		w.verify(svid)
		if got := svid.Certificates[0].Subject.String(); got != "O=Example" {
			t.Errorf("subject %q, want the role's organization", got)
		}
	}
	w.requireRenewalsAfter(9*time.Minute, 21*time.Minute)
}

// A role that lacks something fails each pod, and the pod's events tell.
func TestVaultRoleThatSignsNoSVIDs(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*standin.VaultRole)
		code   codes.Code
		want   string
	}{
		"require_cn": {
			func(r *standin.VaultRole) { r.RequireCN = true }, codes.FailedPrecondition, "the common_name field is required",
		},
		"allowed_uri_sans": {
			func(r *standin.VaultRole) { r.AllowedURISANs = nil }, codes.FailedPrecondition, "URI Subject Alternative Names are not allowed in this role",
		},
		"key_type": {
			func(r *standin.VaultRole) { r.KeyType = "rsa" }, codes.FailedPrecondition, "role requires keys of type rsa",
		},
		"client_flag": {
			func(r *standin.VaultRole) { r.ClientFlag = false }, codes.Internal, "does not have extended key usage clientAuth",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t)
			role := vaultRole()
			test.change(&role)
			w.startWithVault(role)
			_, err := w.kubelet.Publish(t.Context(), w.pod("web-0"), testkit.VolumeName)
			w.requireRefusal(err, test.code, test.want)
		})
	}
}
