// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

func (d *demo) connectKubelet(ctx context.Context) error {
	var err error
	if d.kubelet, err = testkit.NewKubelet(d.cluster, d.path("kubelet"), d.path("csi.sock")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := d.kubelet.WaitForDriver(ctx); err != nil {
		return fmt.Errorf("the driver does not answer on its socket: %w", err)
	}
	say("csi-driver-spiffe runs for node %s, as ServiceAccount cert-manager/csi-driver-spiffe, on %s", nodeName, d.path("csi.sock"))
	return nil
}

// createPod applies an example of the manifests and returns the pod in it.
func (d *demo) createPod(ctx context.Context, manifest string) (*corev1.Pod, error) {
	objects, err := testkit.ReadManifests("manifests/examples/" + manifest)
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	for _, object := range objects {
		if object.GetKind() == "Pod" {
			// There is no scheduler: the pod is given its node here.
			if err := setNode(object.Object); err != nil {
				return nil, err
			}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, pod); err != nil {
				return nil, err
			}
		}
	}
	if err := d.cluster.Apply(ctx, "", objects); err != nil {
		return nil, err
	}
	say("manifests/examples/%s is applied", manifest)
	return d.cluster.Kubernetes.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
}

func setNode(pod map[string]any) error {
	spec, ok := pod["spec"].(map[string]any)
	if !ok {
		return errors.New("the example has no spec")
	}
	spec["nodeName"] = nodeName
	return nil
}

func (d *demo) publish(ctx context.Context) error {
	var err error
	if d.pod, err = d.createPod(ctx, "example-app.yaml"); err != nil {
		return err
	}
	began := time.Now()
	if d.target, err = d.kubelet.Publish(ctx, d.pod, testkit.VolumeName); err != nil {
		return err
	}
	say("NodePublishVolume returned after %s: key made, certificate requested, approved, signed, written and mounted",
		time.Since(began).Round(time.Millisecond))
	requests, err := d.cluster.CertManager.CertmanagerV1().CertificateRequests(d.pod.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, request := range requests.Items {
		say("CertificateRequest %s/%s was made by %s", request.Namespace, request.Name, request.Spec.Username)
		if want := "system:serviceaccount:sandbox:example-app"; request.Spec.Username != want {
			return fmt.Errorf("it should have been made by %s", want)
		}
	}
	return nil
}

// publishAgain shows that a live volume is left alone.
func (d *demo) publishAgain(ctx context.Context) error {
	before, err := d.serialAndKey()
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := d.kubelet.Publish(ctx, d.pod, testkit.VolumeName); err != nil {
		return err
	}
	after, err := d.serialAndKey()
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("the document changed from %s to %s", before, after)
	}
	say("it returned after %s and changed nothing", time.Since(began).Round(time.Millisecond))
	return nil
}
