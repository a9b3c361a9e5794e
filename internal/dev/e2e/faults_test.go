// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// bystanders are the pods that watch what becomes of the driver.
const bystanders = "app=bystander"

// faults does to the driver what a node does, while pods run that need it.
func faults(t *testing.T, w *world) {
	w.createDeployment(t, newPod(t, "bystander", nil), 3)
	w.waitPodsReady(t, sandbox, bystanders, 3)
	for _, fault := range []struct {
		name string
		do   func(*testing.T, *world)
	}{
		{"driver pod deleted", deleteDriver},
		// Before the driver's pod is replaced by another, for the kubelet waits longer
		// each time that the same one ends.
		{"driver OOM-killed", oomKillDriver},
		{"driver upgraded", upgradeDriver},
		{"driver killed twice, CrashLoopBackOff", crashLoopDriver},
		{"kubelet killed", killKubelet},
	} {
		step(t, fault.name, func(t *testing.T) {
			pods := w.waitPodsReady(t, sandbox, bystanders, 3)
			watcher := watch(t, pods)
			start := time.Now()
			fault.do(t, w)
			recovered := time.Since(start)
			watcher.waitRenewals(t)
			w.noRestarts(t, pods)
			w.report.add(fault.name, recovered, watcher.end(t))
		})
	}
}

func (w *world) driverPod(t *testing.T) corev1.Pod {
	t.Helper()
	return w.waitPodsReady(t, installed, driverPods, 1)[0]
}

func deleteDriver(t *testing.T, w *world) {
	old := w.driverPod(t)
	if err := w.Kubernetes.CoreV1().Pods(installed).Delete(t.Context(), old.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.waitOtherDriver(t, old)
}

// waitOtherDriver waits until another pod is in the place of one.
func (w *world) waitOtherDriver(t *testing.T, old corev1.Pod) {
	t.Helper()
	eventually(t, patience, "another driver pod", func(ctx context.Context) error {
		pods, err := w.pods(ctx, installed, driverPods)
		if err == nil && (len(pods) != 1 || pods[0].UID == old.UID || !isReady(pods[0])) {
			err = fmt.Errorf("there are %d", len(pods))
		}
		return err
	})
}

func upgradeDriver(t *testing.T, w *world) {
	old := w.driverPod(t)
	next := strings.Replace(old.Spec.Containers[0].Image, ":e2e", ":e2e-next", 1)
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"csi-driver-spiffe","image":%q}]}}}}`, next)
	_, err := w.Kubernetes.AppsV1().DaemonSets(installed).Patch(t.Context(), "csi-driver-spiffe", types.StrategicMergePatchType,
		[]byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.waitOtherDriver(t, old)
	if image := w.driverPod(t).Spec.Containers[0].Image; image != next {
		t.Errorf("the driver's image is %s, want %s", image, next)
	}
}

// crashLoopDriver kills the driver, and again when it is there, after which the
// kubelet lets it wait for ten seconds. Another time it would be twenty, which is
// more than SVIDs as short as here have left when they are due.
func crashLoopDriver(t *testing.T, w *world) {
	before := w.driverPod(t).Status.ContainerStatuses[0].RestartCount
	for n := range int32(2) {
		w.killDriver(t)
		w.waitRestarts(t, before+n+1)
	}
}

func (w *world) killDriver(t *testing.T) {
	t.Helper()
	pods, err := w.pods(t.Context(), installed, driverPods)
	if err != nil || len(pods) != 1 {
		t.Fatalf("%d driver pods, %v", len(pods), err)
	}
	pid, err := processOf(pods[0])
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// waitRestarts waits until the driver's container has been restarted so often, and
// is ready.
func (w *world) waitRestarts(t *testing.T, n int32) {
	t.Helper()
	eventually(t, patience, fmt.Sprintf("restart %d of the driver", n), func(ctx context.Context) error {
		pods, err := w.pods(ctx, installed, driverPods)
		if err != nil || len(pods) != 1 {
			return fmt.Errorf("%d driver pods, %w", len(pods), err)
		}
		status := pods[0].Status.ContainerStatuses[0]
		if status.RestartCount < n || !isReady(pods[0]) || status.State.Running == nil {
			return fmt.Errorf("%d restarts, state %+v", status.RestartCount, status.State)
		}
		_, err = processOf(pods[0])
		return err
	})
}

// oomKillDriver puts processes into the driver's cgroup that use all the memory
// that it may have, each less than the driver, so that the kernel kills that.
func oomKillDriver(t *testing.T, w *world) {
	pod := w.driverPod(t)
	before := pod.Status.ContainerStatuses[0].RestartCount
	pid, err := processOf(pod)
	if err != nil {
		t.Fatal(err)
	}
	procs, err := memoryCgroup(pid)
	if err != nil {
		t.Fatal(err)
	}
	var hogs []*exec.Cmd
	free := func() {
		for _, hog := range hogs {
			_ = hog.Process.Kill()
			_ = hog.Wait()
		}
		hogs = nil
	}
	defer free()
	eventually(t, patience, "the driver killed for want of memory", func(ctx context.Context) error {
		hog := exec.CommandContext(ctx, filepath.Join(repository, "bin/e2e/app"), "allocate", "20")
		if err := hog.Start(); err != nil {
			return err
		}
		hogs = append(hogs, hog)
		err := os.WriteFile(procs, []byte(strconv.Itoa(hog.Process.Pid)), 0o600)
		if alive(pid) {
			return errors.Join(err, errors.New("it lives"))
		}
		return nil
	})
	// They count against the whole pod.
	free()
	w.waitRestarts(t, before+1)
	ended := w.driverPod(t).Status.ContainerStatuses[0].LastTerminationState
	troubleshooting.Row("OOMKilled").Seen(t, fmt.Sprintf("%+v", ended.Terminated))
}

// memoryCgroup is the file by which a process joins the memory cgroup of another.
func memoryCgroup(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(fields) == 3 && fields[1] == "memory":
			return filepath.Join("/sys/fs/cgroup/memory", fields[2], "cgroup.procs"), nil
		case len(fields) == 3 && fields[0] == "0" && exists("/sys/fs/cgroup/cgroup.controllers"):
			return filepath.Join("/sys/fs/cgroup", fields[2], "cgroup.procs"), nil
		}
	}
	return "", fmt.Errorf("process %d is in no memory cgroup: %s", pid, data)
}

// alive tells whether a process runs, which a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// killKubelet kills the kubelet, which is started again, and then has it publish a
// volume.
func killKubelet(t *testing.T, w *world) {
	old := w.kubeletPID(t)
	w.signalNode(t, syscall.SIGHUP)
	eventually(t, patience, "another kubelet", func(context.Context) error {
		if now := w.kubeletPID(t); now == 0 || now == old {
			return fmt.Errorf("PID %d, was %d", now, old)
		}
		return nil
	})
	w.createPod(t, newPod(t, "after-kubelet", nil))
	w.waitPodsReady(t, sandbox, "app=after-kubelet", 1)
	w.deletePods(t, sandbox, "app=after-kubelet")
}

// kubeletPID is that of the running kubelet of this node, or 0.
func (w *world) kubeletPID(t *testing.T) int {
	t.Helper()
	namespace := func(pid int) string {
		name, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)) // else it has ended
		return name
	}
	own := namespace(w.init(t))
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range commands {
		command, err := os.ReadFile(file)
		if err != nil || !strings.HasSuffix(string(command), "devnode\x00part\x00kubelet\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && alive(pid) && namespace(pid) == own {
			return pid
		}
	}
	return 0
}
