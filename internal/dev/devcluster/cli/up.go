// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

type upFlags struct {
	cluster    clusterFlags
	kubeconfig string
	stdin      bool
}

func newUp(extension Extension) *cobra.Command {
	flags := upFlags{cluster: clusterFlags{extension: extension}}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring up a cluster and keep it up until interrupted",
		Long: `Brings up a cluster, prints two lines on standard output,

  KUBECONFIG=/tmp/devcluster-123/kubeconfig
  ready after 5.0s

and keeps the cluster up until it gets SIGINT, SIGTERM, SIGHUP or SIGQUIT.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return up(cmd, flags) },
	}
	flags.cluster.add(cmd)
	cmd.Flags().StringVar(&flags.kubeconfig, "kubeconfig", "",
		"new file to copy the kubeconfig to, removed in the end")
	cmd.Flags().BoolVar(&flags.stdin, "until-stdin-closes", false,
		"stop also when standard input ends, as a pipe does when the process at its other end dies")
	return cmd
}

func up(cmd *cobra.Command, flags upFlags) (err error) {
	if ended, err := flags.cluster.enter(); ended || err != nil {
		return err
	}
	signals := catchSignals()
	c, took, err := start(signals, &flags.cluster, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer func() { err = c.Stop(err) }()
	if flags.kubeconfig != "" {
		if err := copyNew(flags.kubeconfig, c.Kubeconfig()); err != nil {
			return err
		}
		defer os.Remove(flags.kubeconfig)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "KUBECONFIG=%s\nready after %.1fs\n", c.Kubeconfig(), took.Seconds())

	var inputEnd <-chan struct{}
	if flags.stdin {
		inputEnd = endOf(cmd.InOrStdin())
	}
	select {
	case <-signals:
		return nil
	case <-inputEnd:
		return nil
	case err := <-c.Failed():
		return err
	}
}

// copyNew copies a file to one that must not exist yet: it will be removed.
func copyNew(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// endOf returns a channel that is closed when r ends or fails.
func endOf(r io.Reader) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, r)
	}()
	return ended
}
