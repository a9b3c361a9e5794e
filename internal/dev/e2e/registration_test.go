// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

const registrationFlag = "--kubelet-registration-path="

// unregistered has the driver tell the kubelet of a socket where there is none. A
// pod that wants a volume waits, and runs when that is fixed.
func unregistered(t *testing.T, w *world) {
	start := time.Now()
	old := w.driverPod(t)
	right := w.setRegistrationPath(t, "/var/lib/kubelet/plugins/elsewhere/csi.sock")
	refused := troubleshooting.Row("the kubelet does not register the driver: it says: …")
	var readiness string
	eventually(t, patience, "/readyz says what the kubelet says", func(ctx context.Context) error {
		pods, err := w.pods(ctx, installed, driverPods)
		if err != nil || len(pods) != 1 || pods[0].UID == old.UID || pods[0].Status.PodIP == "" {
			return errors.Join(err, errors.New("there is no other pod of the driver"))
		}
		if readiness, err = get(ctx, pods[0], 9402, "/readyz"); err == nil && !refused.In(readiness) {
			err = errors.New(readiness)
		}
		return err
	})
	refused.Seen(t, readiness)

	w.createPod(t, newPod(t, "unregistered", nil))
	event := w.waitEvent(t, sandbox, "unregistered", "FailedMount")
	troubleshooting.Row("driver name spiffe.csi.cert-manager.io not found in the list of registered CSI drivers").Seen(t, event)
	w.report.timed("driver that names a wrong socket to the kubelet", start, "event: `%s`", event)

	w.setRegistrationPath(t, right)
	w.waitPodsReady(t, sandbox, "app=unregistered", 1)
	w.report.timed("the same pod, when the path is right", start, "running")
	w.waitPodsReady(t, installed, driverPods, 1)
	w.deletePods(t, sandbox, "app=unregistered")
}

// setRegistrationPath changes where the kubelet is told that the socket is, and
// returns what it was told before.
func (w *world) setRegistrationPath(t *testing.T, path string) (before string) {
	t.Helper()
	sets := w.Kubernetes.AppsV1().DaemonSets(installed)
	eventually(t, patience, "the DaemonSet changed", func(ctx context.Context) error { // its controller writes to it, too
		set, err := sets.Get(ctx, "csi-driver-spiffe", metav1.GetOptions{})
		if err != nil {
			return err
		}
		args := set.Spec.Template.Spec.Containers[0].Args
		for i, arg := range args {
			if value, ok := strings.CutPrefix(arg, registrationFlag); ok {
				before, args[i] = value, registrationFlag+path
			}
		}
		_, err = sets.Update(ctx, set, metav1.UpdateOptions{})
		return err
	})
	if before == "" {
		t.Fatalf("the driver has no flag %s", registrationFlag)
	}
	return before
}

// unreadable is a pod of another user than root and of no group that may read the
// files.
func unreadable(t *testing.T, w *world, pod *corev1.Pod) {
	pod.Name = "no-group"
	pod.Spec.SecurityContext.FSGroup = nil
	for i := range pod.Spec.Volumes {
		pod.Spec.Volumes[i].CSI.VolumeAttributes = nil
	}
	w.createPod(t, pod)
	w.waitPodsReady(t, sandbox, "app="+pod.Labels["app"], 1)
	_, err := w.exec(t.Context(), sandbox, pod.Name, "cat", mountPath+"/tls.key")
	if err == nil {
		t.Fatal("it reads its key")
	}
	troubleshooting.Row("permission denied").Seen(t, err.Error())
	w.deletePods(t, sandbox, "app="+pod.Labels["app"])
}
