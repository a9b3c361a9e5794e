// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration tests the driver and the approver together, on a real
// cluster: kube-apiserver, cert-manager's issuers and webhook, sockets, tmpfs
// and bind mounts. Only the kubelet is a stand-in; see package testkit.
//
// Each test makes a world of its own, an issuer, an approver and a driver for a
// node, with names of its own, so that all of them run side by side. Without a
// cluster they skip; `make test` brings one.
package integration
