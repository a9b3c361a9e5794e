// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/cluster"
)

// gracePeriod is how long a command may take to end after its cluster has
// failed.
const gracePeriod = 10 * time.Second

func newExec(extension Extension) *cobra.Command {
	flags := clusterFlags{extension: extension}
	cmd := &cobra.Command{
		Use:   "exec [flags] -- COMMAND [ARGUMENT...]",
		Short: "Bring up a cluster for the time of one command",
		Long: `Brings up a cluster, runs the command with KUBECONFIG set and the terminal
passed through, takes the cluster down, and exits with the command's exit code
(128 plus the signal's number if a signal ended it). Signals are passed on. If
the cluster fails or devcluster itself is killed, the command gets SIGTERM; in the
first case the exit code is 1.`,
		Example: "  devcluster exec -- kubectl get --raw /readyz",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return execute(cmd, &flags, args) },
	}
	flags.add(cmd)
	cmd.Flags().SetInterspersed(false) // What follows the command is the command's.
	return cmd
}

func execute(cmd *cobra.Command, flags *clusterFlags, args []string) (err error) {
	if _, err := exec.LookPath(args[0]); err != nil {
		return err // rather than bring up a cluster for nothing
	}
	if ended, err := flags.enter(); ended || err != nil {
		return err
	}
	signals := catchSignals()
	c, took, err := start(signals, flags, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer func() { err = c.Stop(err) }()
	fmt.Fprintf(cmd.ErrOrStderr(), "devcluster: ready after %.1fs\n", took.Seconds())

	command := exec.Command(args[0], args[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), c.Environment()...)
	return run(c, command, signals)
}

// run runs a command to its end, passes signals on to it, and ends it early if
// the cluster fails.
func run(c *cluster.Cluster, command *exec.Cmd, signals <-chan os.Signal) error {
	if err := c.StartCommand(command); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for {
		select {
		case err := <-ended:
			return exitError(err)
		case s := <-signals:
			if !sentByTerminal(s) {
				_ = command.Process.Signal(s) // It fails if the command has just ended.
			}
		case err := <-c.Failed():
			_ = command.Process.Signal(syscall.SIGTERM)
			select {
			case <-ended:
			case <-time.After(gracePeriod):
				_ = command.Process.Kill()
			}
			return err
		}
	}
}

// exitError makes an exitCode of what [exec.Cmd.Wait] returns.
func exitError(err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitCode(128 + int(status.Signal()))
	}
	return exitCode(exit.ExitCode())
}

// sentByTerminal reports whether a signal probably comes from the terminal's
// keyboard. Then the command has had it too, being in the same process group, and
// would take a second one for impatience.
func sentByTerminal(s os.Signal) bool {
	if s != syscall.SIGINT && s != syscall.SIGQUIT {
		return false
	}
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	foreground, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && foreground == unix.Getpgrp()
}
