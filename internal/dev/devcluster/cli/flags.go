// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/cluster"
)

// An Extension makes a cluster that is more than API server and cert-manager.
type Extension interface {
	// AddFlags adds its flags to those of a command.
	AddFlags(flags *pflag.FlagSet)
	// Enter is called when the flags are parsed, before anything is started. If it
	// has had this program do all of it in another process, it returns that one's
	// exit code and true.
	Enter() (exitCode int, ended bool, err error)
	// Addition is what the cluster has more.
	Addition() (cluster.Addition, error)
}

// clusterFlags are the flags of both commands that bring up a cluster.
type clusterFlags struct {
	dir, logs string
	extension Extension // or nil
}

func (f *clusterFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "dir", "", "folder below which the temporary folder is made (default $TMPDIR or /tmp)")
	cmd.Flags().StringVar(&f.logs, "logs", "", "new folder that gets the log files of all parts in the end")
	if f.extension != nil {
		f.extension.AddFlags(cmd.Flags())
	}
}

// enter tells whether another process has done everything.
func (f *clusterFlags) enter() (ended bool, err error) {
	if f.extension == nil {
		return false, nil
	}
	code, ended, err := f.extension.Enter()
	if err == nil && code != 0 {
		err = exitCode(code)
	}
	return ended, err
}

// options are those of a cluster that tells w about its progress.
func (f *clusterFlags) options(w io.Writer) (cluster.Options, error) {
	executable, err := os.Executable()
	if err != nil {
		return cluster.Options{}, err
	}
	options := cluster.Options{
		PartCommand: []string{executable, PartCommand},
		Dir:         f.dir,
		Logs:        f.logs,
		Progress:    func(step string) { fmt.Fprintf(w, "devcluster: %s\n", step) },
	}
	if f.extension != nil {
		options.Addition, err = f.extension.Addition()
	}
	return options, err
}
