// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package node gives a devcluster one real node: kube-controller-manager,
// kube-scheduler and a kubelet from their Go modules, with containerd, runc and
// CNI plugins as a Linux distribution packages them.
//
// The node is a machine of its own as far as namespaces go. Everything, the API
// server included, runs in a network and a mount namespace that [Enter] makes;
// the kubelet, containerd and all containers run in a PID namespace below that,
// with a /run, /var/lib and /var/log of their own. So nothing of the machine's
// own container runtime, network, mounts or settings is touched, and all of it is
// gone with the last process, however that ends. Only cgroups are not: [Enter]
// removes those, also what a run that was killed has left.
//
// The first process of the PID namespace is the node's init, package boot. Its
// PID is in the file [InitPID] of the state folder:
//
//   - SIGHUP kills the kubelet, which is started again, as systemd would do;
//   - SIGKILL is a power failure: every process is gone, and so is what was in
//     /run and in any tmpfs. The node is started again with what was on disk.
//
// Pods reach the API server at the address of the Service "kubernetes", which is
// one of the loopback interface's; there is no kube-proxy, so that other Services
// have no address, and no DNS. Images are imported from files: see [Options].
package node

import "github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"

// Names in the state folder, relative to it.
const (
	// Folder holds all that is the node's.
	Folder = "node"
	// InitPID has the PID of the node's init in decimal, as seen by the devcluster.
	InitPID = "node/init.pid"
	// StaticPods is the kubelet's folder of manifests of static pods.
	StaticPods = "node/static-pods"

	// settingsFile tells the parts what they do not know from fixed names.
	settingsFile = "node/settings.json"
	// What is on the node's disk: its /var/lib, and its /var/log, where the logs of
	// pods are, among the log files of parts.
	libFolder = "node/lib"
	logFolder = statedir.Logs + "/node"

	controllerManagerConfig = "node/controller-manager.kubeconfig"
	schedulerConfig         = "node/scheduler.kubeconfig"
	kubeletKubeconfig       = "node/kubelet.kubeconfig"
	kubeletConfig           = "node/kubelet.yaml"
	containerdConfig        = "node/containerd.toml"
	cniFolder               = "node/cni"
	kubeletCert             = "pki/kubelet.crt"
	kubeletKey              = "pki/kubelet.key"
	kubeletClientCert       = "pki/apiserver-kubelet-client.crt"
	kubeletClientKey        = "pki/apiserver-kubelet-client.key"
)

// Name is the name of the node.
const Name = "node1"

// StateVariable is the environment variable that names the state folder to a
// command which `devnode exec` runs.
const StateVariable = "DEVNODE_STATE"

// Names of the parts.
const (
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	// Machine starts Init, again and again.
	Machine = "node"
	// Init is the first process of the node, and Kubelet one that it starts.
	Init    = "node-init"
	Kubelet = "kubelet"
)
