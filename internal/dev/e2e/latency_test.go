// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
)

// fullVariable has the tests do what takes too long for every change.
const fullVariable = "CSI_DRIVER_SPIFFE_TEST_FULL"

// latency measures how long pods take from their creation until they are ready,
// with and without a volume of the driver; nothing is asserted but that they
// become ready.
func latency(t *testing.T, w *world) {
	if os.Getenv(fullVariable) == "" {
		t.Skipf("takes minutes: set %s=1", fullVariable)
	}
	// No renewals meanwhile.
	w.editConfig(t, func(config map[string]any) { section(config, "certificate")["duration"] = "1h" })
	for _, row := range []struct{ rounds, pods int }{{10, 1}, {1, 100}} {
		for _, volume := range []bool{false, true} {
			name := map[bool]string{false: "without", true: "with"}[volume]
			t.Run(fmt.Sprintf("%d pods at once %s volume", row.pods, name), func(t *testing.T) {
				start := time.Now()
				var all []time.Duration
				for range row.rounds {
					all = append(all, w.timePods(t, row.pods, volume)...)
				}
				slices.Sort(all)
				w.report.timed(fmt.Sprintf("%d × %d pods at once, %s the volume", row.rounds, row.pods, name), start,
					"creation to ready: p50 %v, p99 %v", quantile(all, 50), quantile(all, 99))
			})
		}
	}
}

func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Round(10 * time.Millisecond)
}

// timePods makes n pods at once, and measures until a watch shows each as ready.
func (w *world) timePods(t *testing.T, n int, volume bool) []time.Duration {
	t.Helper()
	const selector = "app=measured"
	pods := w.Kubernetes.CoreV1().Pods(sandbox)
	watcher, err := pods.Watch(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	created := map[string]time.Time{}
	for i := range n {
		pod := newPod(t, fmt.Sprintf("measured-%d", i), func(pod *corev1.Pod) {
			pod.Labels = map[string]string{"app": "measured"}
			if !volume {
				pod.Spec.Volumes, pod.Spec.Containers[0].VolumeMounts = nil, nil
			}
		})
		created[pod.Name] = time.Now()
		w.createPod(t, pod)
	}
	took, err := timesToReady(t.Context(), watcher, created)
	if err != nil {
		t.Fatal(err)
	}
	w.deletePods(t, sandbox, selector)
	return took
}

// timesToReady follows a watch until all pods are ready.
func timesToReady(ctx context.Context, watcher apiwatch.Interface, created map[string]time.Time) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	ready := map[string]time.Duration{}
	for len(ready) < len(created) {
		select {
		case event, ok := <-watcher.ResultChan():
			if !ok {
				return nil, errors.New("the watch ended")
			}
			pod, ok := event.Object.(*corev1.Pod)
			if !ok || !isReady(*pod) {
				continue
			}
			if _, seen := ready[pod.Name]; !seen {
				ready[pod.Name] = time.Since(created[pod.Name])
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d pods ready: %w", len(ready), len(created), ctx.Err())
		}
	}
	var took []time.Duration
	for _, d := range ready {
		took = append(took, d)
	}
	return took, nil
}
