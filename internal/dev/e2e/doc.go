// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the product on a real node: installed from the manifests
// and the container images of this repository, with a real kubelet, containerd
// and pods. `make e2e` runs it in a cluster of its own (internal/dev/devcluster,
// command devnode); `go test` alone skips it and says so.
//
// It is one test with steps in a fixed order, for they build on each other: the
// walkthrough of the README, what a node does to the driver while pods run, two
// pods that speak mutual TLS all the while, what a pod's start costs, and several
// installations side by side. What
// pods see is read through /proc/PID/root of their processes: the very files that
// they see, without a program in the pod that could change something. At the end
// it prints a table of what was done and what pods saw.
//
// [command app] is what runs in the pods.
//
// [command app]: https://pkg.go.dev/github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/e2e/app
package e2e
