// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

func (d *demo) unpublish(ctx context.Context) error {
	// Ctrl-C is how KEEP=1 ends, and then this is still to be shown.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	for _, pod := range d.pods() {
		if err := d.kubelet.Unpublish(ctx, pod, testkit.VolumeName); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(d.target); err == nil {
		return fmt.Errorf("%s is still there", d.target)
	}
	left, err := os.ReadDir(d.path("tmpfs"))
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("the driver's tmpfs still holds %v", left)
	}
	say("the volumes are gone, and the driver's tmpfs is empty: keys and certificates no longer exist")
	return d.waitForNoRequests(ctx)
}

// waitForNoRequests waits, since the driver deletes requests beside its work.
func (d *demo) waitForNoRequests(ctx context.Context) error {
	count := 0
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		list, err := d.cluster.CertManager.CertmanagerV1().CertificateRequests("sandbox").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		count = len(list.Items)
		return count == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%d CertificateRequests are still there: %w", count, err)
	}
	say("their CertificateRequests are deleted as well")
	return nil
}

func (d *demo) pods() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range []*corev1.Pod{d.pod, d.groupPod} {
		if pod != nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

// deletePods leaves a cluster that was there before without the examples.
func (d *demo) deletePods(ctx context.Context) error {
	var errs []error
	now := int64(0)
	for _, pod := range d.pods() {
		errs = append(errs, d.cluster.Kubernetes.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
	}
	return errors.Join(errs...)
}
