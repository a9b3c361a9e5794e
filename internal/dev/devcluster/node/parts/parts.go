// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package parts has the programs of a devcluster's node that are of Kubernetes.
// It is apart from package part, for it takes long to build, and a cluster
// without a node does without.
package parts

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/node"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/node/boot"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/part"
)

// Run runs the named part of a cluster with a node in this process. It returns
// only if the part fails, or was told to stop.
func Run(name string) error {
	switch name {
	case part.APIServer:
		return part.RunAPIServer(node.APIServerFlags()...)
	case node.ControllerManager:
		return command(name, controllermanager.NewControllerManagerCommand(), node.ControllerManagerFlags())
	case node.Scheduler:
		return command(name, scheduler.NewSchedulerCommand(), node.SchedulerFlags())
	case node.Kubelet:
		return command(name, kubelet.NewKubeletCommand(context.Background()), node.KubeletFlags())
	case node.Machine:
		return boot.RunMachine()
	case node.Init:
		return boot.RunInit()
	}
	return part.Run(name)
}

// command runs a program of Kubernetes as its own main function does.
func command(name string, cmd *cobra.Command, flags []string) error {
	cmd.SetArgs(flags)
	return fmt.Errorf("%s: exit code %d", name, cli.Run(cmd))
}
