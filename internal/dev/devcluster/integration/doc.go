// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration tests the devcluster binary from outside, and the driver
// with what it needs of the kubelet's own code. Its tests are skipped unless the
// environment names the binary:
//
//	DEVCLUSTER_BINARY=/path/to/devcluster go test ./integration
//	CSI_DRIVER_SPIFFE_BINARY=/path/to/csi-driver-spiffe go test ./integration
//
// Those that only need a cluster also run on that of KUBECONFIG.
package integration
