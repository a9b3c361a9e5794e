// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import "github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/statedir"

// ControllerManagerFlags are those of kube-controller-manager.
func ControllerManagerFlags() []string {
	return append(clientFlags(controllerManagerConfig),
		"--use-service-account-credentials",
		"--service-account-private-key-file="+statedir.TokenKey,
		"--root-ca-file="+statedir.CACert,
	)
}

// SchedulerFlags are those of kube-scheduler.
func SchedulerFlags() []string { return clientFlags(schedulerConfig) }

// clientFlags are those that controllers have alike. There is one of each.
func clientFlags(kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--leader-elect=false",
	}
}

// KubeletFlags are those of the kubelet; the rest is in its configuration file.
func KubeletFlags() []string {
	return []string{
		"--config=" + kubeletConfig,
		"--kubeconfig=" + kubeletKubeconfig,
		"--hostname-override=" + Name,
		"--node-ip=" + nodeIP().String(),
		"--root-dir=/var/lib/kubelet",
		"--v=2",
	}
}
