// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/daemon"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/bench/result"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
)

// definitions are the CustomResourceDefinitions of a cluster.
func definitions() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

// machine says what numbers depend on. What cannot be found out is left out.
func (b *bench) machine(ctx context.Context) result.Machine {
	m := result.Machine{
		Version: daemon.Version(), Key: strings.NewReplacer("algorithm: ", "", "size: ", "", ", ", " ").Replace(b.key),
		CPU: "unknown CPU", Cores: runtime.NumCPU(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = field(info, "model name", m.CPU)
	}
	if kib, err := testkit.ProcNumber("/proc/meminfo", "MemTotal:"); err == nil {
		m.Memory = kib << 10
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	if version, err := b.cluster.Kubernetes.Discovery().ServerVersion(); err == nil {
		m.Kubernetes = version.GitVersion
	}
	m.CertManager = b.certManager(ctx)
	return m
}

// field returns what stands behind the colon of the first line that begins with a
// name, or else what is said.
func field(data []byte, name, otherwise string) string {
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if key, value, found := strings.Cut(lines.Text(), ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}

// certManager is the version that the cluster's custom resources are labelled
// with, or "".
func (b *bench) certManager(ctx context.Context) string {
	object, err := b.cluster.Dynamic.Resource(definitions()).Get(ctx, "certificaterequests.cert-manager.io", metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return object.GetLabels()["app.kubernetes.io/version"]
}
