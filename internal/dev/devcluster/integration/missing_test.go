// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// settleTime is how long a test waits to see that something does not happen;
// kube-controller-manager would need milliseconds.
const settleTime = 2 * time.Second

// TestWhatIsMissing holds what the documentation says about a cluster without
// kube-controller-manager. It fails when that changes.
func TestWhatIsMissing(t *testing.T) {
	t.Parallel()
	admin := newClients(t, up(t).kubeconfig)
	deleted, owned := admin.createNamespace(t), admin.createOwned(t)
	if err := admin.core.CoreV1().Namespaces().Delete(t.Context(), deleted, meta.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(settleTime)

	namespace, err := admin.core.CoreV1().Namespaces().Get(t.Context(), deleted, meta.GetOptions{})
	if err != nil || namespace.Status.Phase != core.NamespaceTerminating {
		t.Errorf("deleted namespace: phase %q, %v; want Terminating", namespace.Status.Phase, err)
	}
	if _, err := admin.core.CoreV1().ConfigMaps(owned.Namespace).Get(t.Context(), owned.Name, meta.GetOptions{}); err != nil {
		t.Errorf("object of a deleted owner: %v", err)
	}
	_, err = admin.core.CoreV1().ServiceAccounts(owned.Namespace).Get(t.Context(), "default", meta.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("default ServiceAccount: %v, want not found", err)
	}
	_, err = admin.core.CoreV1().ConfigMaps(owned.Namespace).Get(t.Context(), "kube-root-ca.crt", meta.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("root CA ConfigMap: %v, want not found", err)
	}
	role, err := admin.core.RbacV1().ClusterRoles().Get(t.Context(), "view", meta.GetOptions{})
	if err != nil || len(role.Rules) != 0 {
		t.Errorf("ClusterRole view: %d rules, %v; want none", len(role.Rules), err)
	}
	if _, err := admin.core.Discovery().ServerResourcesForGroupVersion("acme.cert-manager.io/v1"); !apierrors.IsNotFound(err) {
		t.Errorf("ACME resources: %v, want not found", err)
	}
}

// createOwned creates a ConfigMap and deletes the one that owns it.
func (c *clients) createOwned(t *testing.T) *core.ConfigMap {
	t.Helper()
	maps := c.core.CoreV1().ConfigMaps(c.createNamespace(t))
	owner, err := maps.Create(t.Context(), &core.ConfigMap{ObjectMeta: meta.ObjectMeta{Name: "owner"}}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned, err := maps.Create(t.Context(), &core.ConfigMap{ObjectMeta: meta.ObjectMeta{
		Name: "owned",
		OwnerReferences: []meta.OwnerReference{{
			APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID,
		}},
	}}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(t.Context(), owner.Name, meta.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	return owned
}
