// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package testkit is what the demonstration, the integration tests and the
// benchmark share: a cluster to work on and a stand-in for the kubelet.
//
// The cluster is real, kube-apiserver and cert-manager, and is reached by a
// kubeconfig with the rights of an administrator; see [Connect] and, in tests,
// [Require]. What is made in it carries names of its own, so that tests run side by
// side. A test that changes what all share, such as a CustomResourceDefinition,
// gets a cluster of its own from [RequireOwn]; one that kills the daemons has them
// as processes, [StartProgram]; one that takes the API server away puts a [Gate]
// in front of it.
//
// The [Kubelet] is not real, since a kubelet needs a container runtime. It does
// what the kubelet does with an inline CSI volume: reads the Pod and the
// CSIDriver from the API server, gets the pod's tokens, makes the directories
// and calls the driver on its socket with the arguments that the kubelet would
// use (kubernetes/pkg/volume/csi/csi_mounter.go, SetUpAt).
package testkit
