// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// reboot cuts the node's power: every process, mount and tmpfs is gone, and it is
// started again. The same pods get their volumes again, with new SVIDs.
func reboot(t *testing.T, w *world) {
	pods := w.waitPodsReady(t, sandbox, bystanders, 3)
	old := map[string]string{}
	for _, pod := range pods {
		d, err := readSVID(pod)
		if err != nil {
			t.Fatal(err)
		}
		old[pod.Name] = d.leaf.SerialNumber.String()
	}
	init, start := w.init(t), time.Now()
	w.signalNode(t, syscall.SIGKILL)
	eventually(t, patience, "the node on again", func(context.Context) error {
		if w.init(t) == init {
			return errors.New("not yet")
		}
		return nil
	})
	eventually(t, 2*patience, "pods with new SVIDs after the reboot", func(ctx context.Context) error {
		for _, pod := range pods {
			now, err := w.Kubernetes.CoreV1().Pods(sandbox).Get(ctx, pod.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if now.UID != pod.UID {
				t.Fatalf("%s is another pod", pod.Name)
			}
			d, err := readSVID(*now)
			if err == nil && !isReady(*now) {
				err = errors.New("not ready")
			}
			if err == nil && d.leaf.SerialNumber.String() == old[pod.Name] {
				err = errors.New("the SVID is from before")
			}
			if err != nil {
				return fmt.Errorf("%s: %w: %s", pod.Name, err, w.lastEvent(ctx, *now))
			}
		}
		return nil
	})
	back := time.Since(start)
	watcher := watch(t, pods)
	watcher.waitRenewals(t)
	w.report.add("node without power, and on again", back, "the same pods, containers started again with new SVIDs; then "+watcher.end(t))
}

// drain evicts pods from the cordoned node, as `kubectl drain` does, and lets them
// come back.
func drain(t *testing.T, w *world) {
	pods, start := w.waitPodsReady(t, sandbox, bystanders, 3), time.Now()
	w.cordon(t, true)
	for _, pod := range pods {
		err := w.Kubernetes.CoreV1().Pods(sandbox).EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: sandbox}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, pod := range pods {
		eventually(t, patience, "nothing left of evicted pod "+pod.Name, func(context.Context) error {
			if left := w.traces(t, pod); len(left) > 0 {
				return fmt.Errorf("%v", left)
			}
			return nil
		})
	}
	eventually(t, patience, "the others waiting for a node", func(ctx context.Context) error {
		waiting, err := w.pods(ctx, sandbox, bystanders)
		if err == nil && len(waiting) != 3 {
			err = fmt.Errorf("there are %d", len(waiting))
		}
		for _, pod := range waiting {
			if pod.Status.Phase != corev1.PodPending {
				err = fmt.Errorf("%s is %s", pod.Name, pod.Status.Phase)
			}
		}
		return err
	})
	drained := time.Since(start)
	w.cordon(t, false)
	w.waitPodsReady(t, sandbox, bystanders, 3)
	w.everySVID(t, bystanders, "SVIDs after the drain", func(podSVID) error { return nil })
	w.report.timed("node drained and brought back", start, "3 pods evicted and nothing left of them after %v; new ones have SVIDs", drained.Round(100*time.Millisecond))
}

func (w *world) cordon(t *testing.T, unschedulable bool) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, unschedulable)
	_, err := w.Kubernetes.CoreV1().Nodes().Patch(t.Context(), "node1", types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}
