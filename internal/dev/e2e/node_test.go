// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// traces are the mounts and files of a pod on the node: of its volume in the
// driver's tmpfs and of the pod in the kubelet's folder.
func (w *world) traces(t *testing.T, pod corev1.Pod) []string {
	t.Helper()
	var found []string
	id := testkit.VolumeID(&pod, pod.Spec.Volumes[0].Name)
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", w.init(t)))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, string(pod.UID)) || strings.Contains(line, id) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	for _, pattern := range []string{"/run/csi-driver-spiffe/*", "/run/csi-driver-spiffe/*/*"} {
		names, err := filepath.Glob(w.onNode(t, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.Contains(filepath.Base(name), id) {
				found = append(found, name)
			}
		}
	}
	if folder := w.onNode(t, "/var/lib/kubelet/pods/"+string(pod.UID)); exists(folder) {
		found = append(found, folder)
	}
	return found
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
