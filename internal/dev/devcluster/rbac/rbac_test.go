// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package rbac_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/rbac"
)

func TestServiceAccountsAreThere(t *testing.T) {
	t.Parallel()
	all, err := rbac.All()
	if err != nil {
		t.Fatal(err)
	}
	var accounts []string
	for _, object := range all {
		if account, ok := object.(*corev1.ServiceAccount); ok {
			accounts = append(accounts, account.Namespace+"/"+account.Name)
		}
	}
	want := []string{rbac.Namespace + "/" + rbac.Controller, rbac.Namespace + "/" + rbac.WebhookAccount}
	if !slices.Equal(accounts, want) {
		t.Errorf("ServiceAccounts are %v, want %v", accounts, want)
	}
}

// Nobody approves by default: see the comment of package main.
func TestNobodyMayApprove(t *testing.T) {
	t.Parallel()
	all, err := rbac.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range all {
		role, ok := object.(*rbacv1.ClusterRole)
		if !ok {
			continue
		}
		for _, rule := range role.Rules {
			if slices.Contains(rule.Verbs, "approve") || slices.Contains(rule.Verbs, "*") {
				t.Errorf("ClusterRole %s may approve: %v", role.Name, rule)
			}
		}
	}
}

func TestObjectsAreThoseOfTheChart(t *testing.T) {
	t.Parallel()
	fresh := filepath.Join(t.TempDir(), "fresh.jsonl")
	if out, err := exec.Command("go", "run", "./update", "-o", fresh).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("cert-manager.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("cert-manager.jsonl is not what the chart of the cert-manager version in go.mod renders: run go generate ./rbac")
	}
}
