// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// requireRefusal asserts what the pod's events will say.
func (w *world) requireRefusal(err error, code codes.Code, fragments ...string) {
	w.t.Helper()
	if got := status.Code(err); got != code {
		w.t.Errorf("code %s, want %s: %v", got, code, err)
	}
	for _, fragment := range fragments {
		if !strings.Contains(status.Convert(err).Message(), fragment) {
			w.t.Errorf("the message lacks %q:\n%v", fragment, err)
		}
	}
}

func TestDeniedRequestIsExplained(t *testing.T) {
	// Without patience for a driver that might be ahead.
	w := prepare(t, func(*world) string { return "rollout: {gracePeriod: 0s}" })
	asked := w.config
	w.config = w.changedConfig("certificate: {duration: 2h}")
	w.startApprover()
	w.config = asked
	w.startDriver()
	pod := w.pod("web-0")
	_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
	w.requireRefusal(err, codes.PermissionDenied,
		"CertificateRequest "+w.workload.Namespace+"/web-0-", "it is 1h0m0s, must be 2h0m0s")
	troubleshooting.Row("denied by approver: …").Seen(t, err.Error())
	w.requireNothingLeft(pod)

	// The kubelet tries again and again: the denied requests must not pile up.
	for range 3 {
		_, err = w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		w.requireRefusal(err, codes.PermissionDenied, "denied by approver")
	}
	if n := len(w.requests()); n > 2 {
		t.Errorf("%d requests after 4 tries, want them pruned", n)
	}
}

func TestPodWithoutRightToRequestIsExplained(t *testing.T) {
	w := newWorld(t)
	w.check(w.unbindRole())
	pod := w.pod("web-0")
	_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
	w.requireRefusal(err, codes.PermissionDenied, "system:serviceaccount:"+w.workload.Namespace+":example-app",
		`a Role with verb "create"`)
	troubleshooting.Row(`cannot create resource "certificaterequests"`).Seen(t, err.Error())
	w.requireNothingLeft(pod)

	w.check(w.bindRole())
	w.eventually("the pod may create requests", func() bool {
		_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		return err == nil
	})
}

func (w *world) bindRole() error {
	_, err := w.Kubernetes.RbacV1().RoleBindings(w.workload.Namespace).Create(w.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.workload.ServiceAccount},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: w.workload.ServiceAccount},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: w.workload.ServiceAccount, Namespace: w.workload.Namespace}},
	}, metav1.CreateOptions{})
	return err
}

// A request that takes longer than the kubelet waits is not made twice.
func TestSlowApprovalIsExplainedAndCollected(t *testing.T) {
	w := prepare(t, func(*world) string { return "" })
	slow := *w.config
	slow.Driver.PublishTimeout = time.Second
	w.config = &slow
	w.startDriver()
	pod := w.pod("web-0")
	_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
	w.requireRefusal(err, codes.DeadlineExceeded, "CertificateRequest "+w.workload.Namespace+"/web-0-",
		"is csi-driver-spiffe-approver running", w.issuer)
	troubleshooting.Row("waiting for approval: no approver has decided").Seen(t, err.Error())
	asked := w.onlyRequest().Name

	w.startApprover()
	w.eventually("the volume is published", func() bool {
		_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		return err == nil
	})
	if got := w.onlyRequest().Name; got != asked {
		t.Errorf("request %s was made beside %s", got, asked)
	}
}

// Until it is published, a volume can be unpublished at any moment.
func TestUnpublishWhileWaiting(t *testing.T) {
	w := prepare(t)
	w.startDriver()
	pod := w.pod("web-0")
	result := make(chan error, 1)
	go func() {
		_, err := w.kubelet.Publish(t.Context(), pod, testkit.VolumeName)
		result <- err
	}()
	w.eventually("a request", func() bool { return len(w.requests()) == 1 })
	w.check(w.kubelet.Unpublish(t.Context(), pod, testkit.VolumeName))
	w.requireRefusal(<-result, codes.Aborted, "unpublished")
	w.requireNothingLeft(pod)
	w.eventually("the request is deleted", func() bool { return len(w.requests()) == 0 })
}

// Each row is a good request of the kubelet with one thing wrong.
func TestPublishRefuses(t *testing.T) {
	w := newWorld(t)
	for name, test := range refusals() {
		t.Run(name, func(t *testing.T) {
			pod := w.pod("pod-" + testkit.UniqueName("x"))
			request, err := w.kubelet.PublishRequest(t.Context(), pod, testkit.VolumeName)
			w.check(err)
			test.change(request)
			_, err = w.kubelet.Node.NodePublishVolume(t.Context(), request)
			if got := status.Code(err); got != test.code {
				t.Errorf("code %s, want %s", got, test.code)
			}
			if !strings.Contains(status.Convert(err).Message(), test.message) {
				t.Errorf("message %q, want %q in it", status.Convert(err).Message(), test.message)
			}
			w.requireNothingLeft(pod)
		})
	}
	if n := len(w.requests()); n != 0 {
		t.Errorf("%d CertificateRequests were made for refused volumes", n)
	}
}

func (w *world) unbindRole() error {
	return w.Kubernetes.RbacV1().RoleBindings(w.workload.Namespace).Delete(w.t.Context(), w.workload.ServiceAccount, metav1.DeleteOptions{})
}
