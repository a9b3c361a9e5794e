// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command devnode is the devcluster with a real node: kube-controller-manager,
// kube-scheduler, and a kubelet on containerd that runs pods. It needs root, and
// containerd, runc and the CNI plugins; see package node for what it does with
// the machine.
//
//	devnode exec --image app.tar --pause-image example.com/app:v1 -- COMMAND
//
// It is apart from the devcluster because it would make that larger and slower to
// build for everybody else. Build it as the devcluster is built; see there.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/cli"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/cluster"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/node"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/node/parts"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == cli.PartCommand {
		if err := parts.Run(os.Args[2]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[2], err)
			os.Exit(1)
		}
		return
	}
	os.Exit(cli.Main(&nodeFlags{}))
}

// nodeFlags make a node of what the command line says.
type nodeFlags struct {
	node.Options
	unpacked string
}

// AddFlags adds the flags of a node.
func (f *nodeFlags) AddFlags(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.Images, "image", nil, "file to import images from; may be repeated")
	flags.StringVar(&f.PauseImage, "pause-image", "", "name of the imported image of which every pod has a container; its program waits")
	flags.StringVar(&f.unpacked, "programs", "", "folder into which the packages of containerd, runc and the CNI plugins were unpacked, if they are not installed")
}

// Enter goes into the namespaces of the node.
func (f *nodeFlags) Enter() (exitCode int, ended bool, err error) {
	if f.Programs, err = node.FindPrograms(f.unpacked); err != nil {
		return 0, false, err
	}
	return node.Enter()
}

// Addition makes the node.
func (f *nodeFlags) Addition() (cluster.Addition, error) { return node.New(f.Options) }
