// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line of the devcluster.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// PartCommand is the first argument with which this program runs one part of a
// cluster, named by the second and last. It is for the program itself.
const PartCommand = "part"

// startTimeout is how long bringing up a cluster may take: many times what it
// takes on a slow machine.
const startTimeout = 3 * time.Minute

// Main runs the command line of this process and returns its exit code. With an
// extension it brings up more than API server and cert-manager.
func Main(extension Extension) int {
	// The libraries inside declare flags for the programs that they usually are,
	// in the global set that cobra would offer here.
	pflag.CommandLine = pflag.NewFlagSet("devcluster", pflag.ContinueOnError)
	err := New(os.Args[1:], extension).Execute()
	if err == nil {
		return 0
	}
	if code, ok := err.(exitCode); ok { //nolint:errorlint // If wrapped, there is more to be said.
		return int(code)
	}
	fmt.Fprintln(os.Stderr, "devcluster:", err)
	return 1
}

// exitCode is the exit code of a command that was run, which is passed on
// without a word.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// New returns the command line with the given arguments, and an extension that
// may be nil.
func New(args []string, extension Extension) *cobra.Command {
	root := &cobra.Command{
		Use:           "devcluster",
		Short:         "A Kubernetes API server with cert-manager, on loopback, in a temporary folder",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newUp(extension), newExec(extension), newVersion())
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetArgs(args)
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of what is inside",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return errors.New("this binary was built without module information")
			}
			printVersions(cmd.OutOrStdout(), info.Deps)
			return nil
		},
	}
}

func printVersions(w io.Writer, modules []*debug.Module) {
	names := map[string]string{
		"k8s.io/kubernetes":                    "Kubernetes",
		"go.etcd.io/etcd/server/v3":            "etcd",
		"github.com/cert-manager/cert-manager": "cert-manager",
	}
	for _, m := range modules {
		if name, ok := names[m.Path]; ok {
			fmt.Fprintln(w, name, m.Version)
		}
	}
}
