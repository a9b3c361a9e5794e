// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

// mountSubPath does what the kubelet does for a container that mounts a file of a volume
// with subPath (kubernetes/pkg/volume/util/subpath/subpath_linux.go, doBindSubPath), and
// returns the path that the container sees.
func (w *world) mountSubPath(pod *corev1.Pod, container, subPath string) string {
	w.t.Helper()
	resolved, err := filepath.EvalSymlinks(filepath.Join(w.kubelet.TargetPath(pod, testkit.VolumeName), subPath))
	w.check(err)
	folder := filepath.Join(w.kubeletRoot(), "pods", string(pod.UID), "volume-subpaths", testkit.VolumeName, container)
	w.check(os.MkdirAll(folder, 0o750))
	path := filepath.Join(folder, "0")
	w.check(os.WriteFile(path, nil, 0o640))
	w.check(unix.Mount(resolved, path, "", unix.MS_BIND, ""))
	w.t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

// A container that mounts a file with subPath goes on seeing the first one. The driver cannot
// change that. It reports it in the log, in the list and in an Event on its own pod.
func TestSubPathIsToldOf(t *testing.T) {
	w := prepare(t, withHistory(1)...)
	var mu sync.Mutex
	var events []string
	w.event = func(warning bool, reason, note string) {
		mu.Lock()
		defer mu.Unlock()
		if warning {
			events = append(events, reason+": "+note)
		}
	}
	w.startApprover()
	w.startDriver()
	with, without := w.pod("with"), w.pod("without")
	target, other := w.publish(with), w.publish(without)
	seen := w.mountSubPath(with, "app", "tls.crt")
	first, err := os.ReadFile(seen)
	w.check(err)
	w.renewals(target, 2)
	w.renewals(other, 1)
	if now, err := os.ReadFile(seen); err != nil || !bytes.Equal(now, first) {
		t.Errorf("the container sees another file: %v", err)
	}
	const row = troubleshooting.Row("containers mount the volume with subPath and do not see renewed SVIDs: …")
	w.eventually("the list tells", func() bool { return row.In(w.list()["with"].LastError) })
	row.Seen(t, w.list()["with"].LastError)
	if got := w.list()["without"].LastError; got != "" {
		t.Errorf("the list says of a volume without subPath: %s", got)
	}
	if lines := strings.Count(w.log.String(), "level=WARN msg=\"containers mount a volume with subPath"); lines != 1 {
		t.Errorf("%d warnings in the log, want 1", lines)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(events) != 1 || !strings.HasPrefix(events[0], "SubPathMount: pod "+w.workload.Namespace+"/with: ") || !strings.Contains(events[0], "app") {
		t.Errorf("the Events are %q", events)
	}
}
