// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// makeNamespaceAgain deletes the world's namespace with all that is in it, as the
// namespace controller does, which the development cluster does not have, and makes
// another one of the same name.
func (w *world) makeNamespaceAgain() {
	w.t.Helper()
	ctx, name, now := w.t.Context(), w.workload.Namespace, int64(0)
	at, all := metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{}
	w.check(w.Kubernetes.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}))
	w.check(w.CertManager.CertmanagerV1().CertificateRequests(name).DeleteCollection(ctx, at, all))
	w.check(w.Kubernetes.CoreV1().Pods(name).DeleteCollection(ctx, at, all))
	w.check(w.Kubernetes.CoreV1().ServiceAccounts(name).DeleteCollection(ctx, at, all))
	w.check(w.Kubernetes.RbacV1().RoleBindings(name).DeleteCollection(ctx, at, all))
	w.check(w.Kubernetes.RbacV1().Roles(name).DeleteCollection(ctx, at, all))
	namespace, err := w.Kubernetes.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	w.check(err)
	namespace.Spec.Finalizers = nil
	_, err = w.Kubernetes.CoreV1().Namespaces().Finalize(ctx, namespace, metav1.UpdateOptions{})
	w.check(err)
	w.eventually("the namespace is gone", func() bool {
		_, err := w.Kubernetes.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	w.check(w.CreateNamespace(ctx, w.workload))
}

// requireRequestsOfThese asserts that every request is one of these pods, by UID.
func (w *world) requireRequestsOfThese(pods ...*corev1.Pod) {
	w.t.Helper()
	of := map[string]bool{}
	for _, pod := range pods {
		of[string(pod.UID)] = true
	}
	for _, request := range w.requests() {
		if owner := request.OwnerReferences[0]; !of[string(owner.UID)] {
			w.t.Errorf("request %s is of pod %s with UID %s, which is gone", request.Name, owner.Name, owner.UID)
		}
	}
}

// A namespace is deleted and made again, with pods and ServiceAccounts of the same names,
// while the node has not ended the pods of before: one that runs, and one that waits.
// The new ones get SVIDs of their own. Those of before get nothing more when the API
// server has forgotten their tokens, which it remembers for ten seconds, and what the
// driver does for them touches no request of the new ones.
func TestNamespaceMadeAgainWithTheSameNames(t *testing.T) {
	for _, scope := range []string{"Node", "Request"} {
		t.Run(scope, func(t *testing.T) {
			w := prepare(t, impatient,
				func(*world) string { return "certificate: {duration: 9s, privateKey: {size: 256}}" },
				func(*world) string { return "certificateRequests: {watch: " + scope + "}" })
			stop := w.startReplica("before")
			w.startDriver()
			runs, waits := w.pod("runs"), w.pod("waits")
			target := w.publishSoon(runs)
			stop()
			w.waitsWith(waits, troubleshooting.Row("waiting for approval: no approver has decided"))
			late, err := w.kubelet.PublishRequest(t.Context(), waits, testkit.VolumeName)
			w.check(err)

			w.makeNamespaceAgain()
			w.startApprover()
			runsAgain, waitsAgain := w.pod("runs"), w.pod("waits")
			targets := []string{w.publishSoon(runsAgain), w.publishSoon(waitsAgain)}
			// The kubelet asks once more for the pod that it has not ended yet.
			w.eventually("the pod of before is refused", func() bool {
				_, err = w.kubelet.Node.NodePublishVolume(t.Context(), late)
				return troubleshooting.Row("the API server does not accept the pod's token; has the pod been deleted?").In(err.Error())
			})
			w.requireRefusal(err, codes.Unauthenticated)
			w.eventually("the renewal of the pod of before fails", func() bool {
				return strings.Contains(w.listByID()[testkit.VolumeID(runs, testkit.VolumeName)].LastError, "Unauthorized")
			})
			ended := w.readLeaf(target)

			for _, pod := range []*corev1.Pod{runs, waits} {
				w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
				w.requireNothingLeft(pod)
			}
			for _, target := range targets {
				w.renewals(target, 2)
				if leaf := w.readLeaf(target); !leaf.NotAfter.After(ended.NotAfter) || time.Now().After(leaf.NotAfter) {
					t.Errorf("the SVID of a new pod expires at %s, that of before at %s", leaf.NotAfter, ended.NotAfter)
				}
			}
			w.requireRequestsOfThese(runsAgain, waitsAgain)
			w.requireRequestsOf(runs, 0)
		})
	}
}
