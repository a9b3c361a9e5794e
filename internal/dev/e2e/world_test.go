// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

const (
	// repository is the top of this repository, seen from this package.
	repository = "../../.."
	// installed is where driver and approver are installed, as the README has it.
	installed = testkit.InstallNamespace
	sandbox   = "sandbox"
	// appImage is the image of command app.
	appImage = "localhost/e2e-app:e2e"
	// patience is for what takes a second or two, on a machine that is busy.
	patience = 90 * time.Second
)

// A world is the cluster with its node.
type world struct {
	*testkit.Cluster
	state  string // the devnode's state folder
	report *report
}

// requireNode returns the world, or skips the test and says why.
func requireNode(t *testing.T) *world {
	t.Helper()
	state := os.Getenv("DEVNODE_STATE")
	if state == "" {
		t.Skip("needs a cluster with a real node: run `make e2e` as root")
	}
	cluster, err := testkit.Connect(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	return &world{Cluster: cluster, state: state, report: &report{}}
}

// eventually waits until something holds: until try returns nil.
func eventually(t *testing.T, limit time.Duration, what string, try func(context.Context) error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := try(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// step runs a part of the test, and ends the test if that fails: what comes
// after builds on it.
func step(t *testing.T, name string, run func(t *testing.T)) {
	t.Helper()
	if !t.Run(name, run) {
		t.FailNow()
	}
}

// init is the PID of the first process of the node.
func (w *world) init(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.state, "node", "init.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// signalNode sends a signal to the node's init: SIGHUP restarts the kubelet,
// SIGKILL is a power failure.
func (w *world) signalNode(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(w.init(t), signal); err != nil {
		t.Fatal(err)
	}
}

// onNode is a path of the node as seen from here.
func (w *world) onNode(t *testing.T, path string) string {
	t.Helper()
	return fmt.Sprintf("/proc/%d/root%s", w.init(t), path)
}

// exec runs a command in a pod, as kubectl exec does, and returns what it prints.
func (w *world) exec(ctx context.Context, namespace, pod string, command ...string) (string, error) {
	request := w.Kubernetes.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(w.REST, "GET", request.URL().String())
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		return "", fmt.Errorf("%s in %s/%s: %w: %s", command, namespace, pod, err, stderr.String())
	}
	return stdout.String(), nil
}

// pods lists the pods of a namespace with a label, such as "app=example".
func (w *world) pods(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	list, err := w.Kubernetes.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// waitPodsReady waits until there are n pods with a label, none is about to go,
// and all are ready.
func (w *world) waitPodsReady(t *testing.T, namespace, selector string, n int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	eventually(t, patience, fmt.Sprintf("%d pods %s/%s ready", n, namespace, selector), func(ctx context.Context) error {
		var err error
		if pods, err = w.pods(ctx, namespace, selector); err != nil {
			return err
		}
		if len(pods) != n {
			return fmt.Errorf("there are %d", len(pods))
		}
		for _, pod := range pods {
			if pod.DeletionTimestamp != nil || !isReady(pod) {
				return fmt.Errorf("%s is %s: %s", pod.Name, pod.Status.Phase, w.lastEvent(ctx, pod))
			}
		}
		return nil
	})
	return pods
}

func isReady(pod corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// events are the messages of a pod's events, which `kubectl describe pod` shows.
func (w *world) events(ctx context.Context, namespace, pod string) ([]string, error) {
	list, err := w.Kubernetes.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
	if err != nil {
		return nil, err
	}
	var messages []string
	for _, event := range list.Items {
		messages = append(messages, event.Reason+": "+event.Message)
	}
	return messages, nil
}

func (w *world) lastEvent(ctx context.Context, pod corev1.Pod) string {
	messages, err := w.events(ctx, pod.Namespace, pod.Name)
	if err != nil || len(messages) == 0 {
		return "no events"
	}
	return messages[len(messages)-1]
}

// waitEvent waits until a pod has an event that holds all the words, and returns
// it.
func (w *world) waitEvent(t *testing.T, namespace, pod string, words ...string) string {
	t.Helper()
	var found string
	eventually(t, patience, fmt.Sprintf("an event of pod %s/%s with %q", namespace, pod, words), func(ctx context.Context) error {
		messages, err := w.events(ctx, namespace, pod)
		if err != nil {
			return err
		}
		for _, message := range messages {
			if containsAll(message, words) {
				found = message
				return nil
			}
		}
		return errors.New(strings.Join(messages, " | "))
	})
	return found
}

func containsAll(s string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(s, word) {
			return false
		}
	}
	return true
}
