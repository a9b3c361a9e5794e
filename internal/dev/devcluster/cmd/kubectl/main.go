// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl is kubectl as Kubernetes releases it, for people who have none.
// It is apart from the devcluster because it would make that larger and slower
// to build for everybody else. Build it as the devcluster is built; see there.
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // for kubeconfigs of other clusters
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() {
	os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
}
