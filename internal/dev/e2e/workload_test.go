// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// readExample reads one of manifests/examples: what the pod needs, and the pod,
// with the image that there is.
func readExample(t *testing.T, name string) (testkit.Objects, *corev1.Pod) {
	t.Helper()
	all, err := testkit.ReadManifests(filepath.Join(repository, "manifests/examples", name))
	if err != nil {
		t.Fatal(err)
	}
	var around testkit.Objects
	var spec corev1.PodSpec
	meta := metav1.ObjectMeta{Namespace: sandbox}
	for _, object := range all {
		switch object.GetKind() {
		case "Pod":
			pod := &corev1.Pod{}
			err = runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, pod)
			meta.Name, spec = pod.Name, pod.Spec
		case "Deployment":
			deployment := &appsv1.Deployment{}
			err = runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, deployment)
			meta.Name, spec = deployment.Name, deployment.Spec.Template.Spec
		default:
			around = append(around, object)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range spec.Containers {
		spec.Containers[i].Image, spec.Containers[i].ImagePullPolicy = appImage, corev1.PullNever
		spec.Containers[i].Command = []string{"sleep", "1000000"}
	}
	spec.TerminationGracePeriodSeconds = new(int64(1))
	return around, &corev1.Pod{ObjectMeta: meta, Spec: spec}
}

// createDeployment makes a Deployment of a pod.
func (w *world) createDeployment(t *testing.T, pod *corev1.Pod, replicas int32) {
	t.Helper()
	labels := map[string]string{"app": pod.Name}
	_, err := w.Kubernetes.AppsV1().Deployments(pod.Namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod.Spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// newPod is a pod of the example's ServiceAccount with a volume, as changed.
func newPod(t *testing.T, name string, change func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	_, pod := readExample(t, "example-app.yaml")
	pod.Name = name
	pod.Labels = map[string]string{"app": name}
	if change != nil {
		change(pod)
	}
	return pod
}

func (w *world) createPod(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	if _, err := w.Kubernetes.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// deletePods deletes all pods with a label and waits until they are gone.
func (w *world) deletePods(t *testing.T, namespace, selector string) {
	t.Helper()
	err := w.Kubernetes.CoreV1().Pods(namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*patience, "pods "+selector+" gone", func(ctx context.Context) error {
		pods, err := w.pods(ctx, namespace, selector)
		if err == nil && len(pods) > 0 {
			err = errors.New(pods[0].Name + " is there")
		}
		return err
	})
}

// deleteDeployment deletes a Deployment, and waits until its pods are gone.
func (w *world) deleteDeployment(t *testing.T, namespace, name string) {
	t.Helper()
	err := w.Kubernetes.AppsV1().Deployments(namespace).Delete(t.Context(), name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	eventually(t, 2*patience, "pods of "+name+" gone", func(ctx context.Context) error {
		pods, err := w.pods(ctx, namespace, "app="+name)
		if err == nil && len(pods) > 0 {
			err = errors.New(pods[0].Name + " is there")
		}
		return err
	})
}
