// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"regexp"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// flood creates bad requests in a namespace of their own, and returns its name.
func (w *world) flood(count int) (namespace string) {
	w.t.Helper()
	namespace = w.workload.Namespace + "-flood"
	w.check(w.CreateNamespace(w.t.Context(), testkit.Workload{Namespace: namespace, ServiceAccount: "flood", Driver: w.workload.Driver}))
	spec := w.spec("example-app")
	creating, ctx := errgroup.WithContext(w.t.Context())
	creating.SetLimit(8)
	for range count {
		creating.Go(func() error {
			_, err := w.CertManager.CertmanagerV1().CertificateRequests(namespace).Create(ctx,
				&cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{GenerateName: "flood-"}, Spec: spec}, metav1.CreateOptions{})
			return err
		})
	}
	w.check(creating.Wait())
	return namespace
}

// decidedInOrder has the namespaces of the requests that the approver has decided.
func (w *world) decidedInOrder() (namespaces []string) {
	for _, match := range regexp.MustCompile(`msg=decided .*?request=([^/]+)/`).FindAllStringSubmatch(w.log.String(), -1) {
		namespaces = append(namespaces, match[1])
	}
	return namespaces
}

// An approver that finds a backlog of one namespace decides the younger requests
// of another in turns with it.
func TestApproverIsFairBetweenNamespaces(t *testing.T) {
	const bad, honest = 200, 3
	w := prepare(t, func(*world) string {
		return "approver: {httpAddress: '', workers: 1, leaderElection: {enabled: false}}"
	})
	flood := w.flood(bad)
	for range honest {
		w.request(w.spec("example-app"))
	}
	w.startApprover()
	var order []string
	w.eventually("the honest requests are decided", func() bool {
		order = w.decidedInOrder()
		return strings.Count(strings.Join(order, " ")+" ", w.workload.Namespace+" ") == honest
	})
	before := 0
	for remaining := honest; remaining > 0; order = order[1:] {
		if order[0] == flood {
			before++
		} else {
			remaining--
		}
	}
	// One more may have been taken up before all were there.
	if before > honest+1 {
		t.Errorf("%d of %d bad requests of another namespace were decided before the last of %d honest ones, want at most %d", before, bad, honest, honest+1)
	}
}
