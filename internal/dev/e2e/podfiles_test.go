// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// mountPath is where the example's pods have their volume.
const mountPath = "/var/run/secrets/spiffe.io"

// A podSVID is what a pod finds in its volume.
type podSVID struct {
	leaf   *x509.Certificate
	id     string
	bundle []byte // nil if there is none
}

// readSVID reads the volume of a pod as the pod sees it.
func readSVID(pod corev1.Pod) (podSVID, error) {
	pid, err := processOf(pod)
	if err != nil {
		return podSVID{}, err
	}
	return readVolume(fmt.Sprintf("/proc/%d/root%s", pid, mountPath))
}

// readVolume reads a volume from the directory behind ..data, in which
// certificate and key belong together, and checks that they do.
func readVolume(dir string) (podSVID, error) {
	target, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		return podSVID{}, err
	}
	dir = filepath.Join(dir, target)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return podSVID{}, err
	}
	d := podSVID{leaf: pair.Leaf}
	if len(d.leaf.URIs) != 1 {
		return podSVID{}, fmt.Errorf("%d URIs in the certificate", len(d.leaf.URIs))
	}
	d.id = d.leaf.URIs[0].String()
	if now := time.Now(); now.After(d.leaf.NotAfter) {
		return podSVID{}, fmt.Errorf("expired %v ago", now.Sub(d.leaf.NotAfter).Round(time.Second))
	}
	d.bundle, err = os.ReadFile(filepath.Join(dir, "ca.crt"))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return d, err
}

// processOf is the PID, as seen here, of a process in a pod that is not the pause
// container's.
func processOf(pod corev1.Pod) (int, error) {
	processes, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, err
	}
	for _, file := range processes {
		data, err := os.ReadFile(file)
		// systemd's cgroup driver writes the UID with underscores.
		text := strings.ReplaceAll(string(data), "_", "-")
		if err != nil || !strings.Contains(text, "pod"+string(pod.UID)) {
			continue
		}
		command, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err != nil || len(command) == 0 || string(command) == "/app\x00" {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/cgroup", &pid); err == nil {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process of pod %s/%s", pod.Namespace, pod.Name)
}
