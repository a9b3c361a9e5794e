// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

const minimalConfig = `apiVersion: config.spiffe.csi.cert-manager.io/v1alpha1
kind: SPIFFEConfiguration
trustDomain: test.example.org
issuerRef: {name: ca}
driver: {httpAddress: ""}
approver: {httpAddress: ""}
`

// A file that is refused is an Event of the daemon's own pod, made with the
// rights of the manifests. Not parallel, for it sets the environment.
func TestRefusedFileIsAnEventOfThePod(t *testing.T) {
	cluster := testkit.Require(t)
	name, dir := testkit.UniqueName("ev"), t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	made, err := cluster.Install(t.Context(), repository, "-"+name, "clusterissuers.cert-manager.io/"+name)
	check(err)
	pod, err := cluster.CreatePod(t.Context(), testkit.Workload{
		Namespace: testkit.InstallNamespace, ServiceAccount: "csi-driver-spiffe-approver-" + name, Driver: "spiffe.csi.cert-manager.io",
	}, name, "node")
	check(err)
	t.Setenv("POD_NAME", pod.Name)
	t.Setenv("POD_NAMESPACE", pod.Namespace)
	t.Setenv("POD_UID", string(pod.UID))
	kubeconfig, file := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "config.yaml")
	check(testkit.WriteKubeconfig(kubeconfig, made.Approver))
	check(os.WriteFile(file, []byte(minimalConfig), 0o600))

	running, stop, ended := make(chan struct{}), make(chan struct{}), make(chan int, 1)
	program := daemon.Program{Name: "csi-driver-spiffe-approver", Run: func(context.Context, daemon.Env) error {
		close(running)
		<-stop
		return nil
	}}
	go func() {
		ended <- program.Main([]string{"--config", file, "--kubeconfig", kubeconfig}, daemon.Streams{Out: t.Output(), Err: t.Output()})
	}()
	<-running
	check(os.WriteFile(file, []byte(minimalConfig+"trustDomain: twice\n"), 0o600))
	waitForEvent(t, cluster, pod.Name, "ConfigurationRefused")
	check(os.WriteFile(file, []byte(minimalConfig), 0o600))
	waitForEvent(t, cluster, pod.Name, "ConfigurationReloaded")
	close(stop)
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func waitForEvent(t *testing.T, cluster *testkit.Cluster, pod, reason string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		events, err := cluster.Kubernetes.EventsV1().Events(testkit.InstallNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		return hasEvent(events.Items, pod, reason), nil
	})
	if err != nil {
		t.Fatalf("no Event %s of pod %s: %v", reason, pod, err)
	}
}

func hasEvent(events []eventsv1.Event, pod, reason string) bool {
	for _, event := range events {
		if event.Regarding.Name == pod && event.Reason == reason {
			return true
		}
	}
	return false
}
