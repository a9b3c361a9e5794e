// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// uninstall takes away what would be in the way on a cluster that lives on: the
// namespace, with all requests, and the issuers. It runs after a Ctrl-C, too.
func (b *bench) uninstall() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	gone := metav1.DeleteOptions{}
	errs := []error{b.cluster.Kubernetes.CoreV1().Namespaces().Delete(ctx, b.workload.Namespace, gone)}
	for _, issuer := range []string{b.name, b.floorIssuer()} {
		errs = append(errs,
			b.cluster.CertManager.CertmanagerV1().ClusterIssuers().Delete(ctx, issuer, gone),
			b.cluster.Kubernetes.CoreV1().Secrets(testkit.InstallNamespace).Delete(ctx, issuer, gone))
	}
	for i, err := range errs {
		if apierrors.IsNotFound(err) {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

// keepLogs puts what the daemons have logged beside the results.
func (b *bench) keepLogs() error {
	if b.out == "" {
		return nil
	}
	logs, err := filepath.Glob(b.path("*.log"))
	if err != nil || len(logs) == 0 {
		return err
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, log := range logs {
		data, err := os.ReadFile(log)
		if err == nil {
			err = os.WriteFile(filepath.Join(b.out, filepath.Base(log)), data, 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
