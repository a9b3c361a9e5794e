// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// cgroupVariable names the cgroup of the node to this program inside its
// namespaces, and says that it is in them.
const cgroupVariable = "DEVNODE_CGROUP"

// Enter has this program, with the same command line, run in a mount and a
// network namespace of its own, and returns its exit code and true when it has
// ended and what it leaves is removed. In the namespaces it returns false, and
// the program goes on.
func Enter() (exitCode int, ended bool, err error) {
	if os.Getenv(cgroupVariable) != "" {
		return 0, false, errors.Join(
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			setUpNetwork(),
		)
	}
	if os.Geteuid() != 0 {
		return 0, false, errors.New("a node needs root: it mounts, makes namespaces and cgroups, and runs containers")
	}
	if err := removeStaleCgroups(); err != nil {
		return 0, false, err
	}
	cgroup, err := createCgroup()
	if err != nil {
		return 0, false, err
	}
	exitCode, err = runInside(cgroup)
	return exitCode, true, errors.Join(err, removeCgroup(cgroup))
}

// runInside starts this program again. When this process dies the other gets
// SIGTERM, and takes everything down.
func runInside(cgroup string) (int, error) {
	// Linux takes the end of the starting thread for the parent's death.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)

	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), cgroupVariable+"="+cgroup)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGTERM,
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("making namespaces for the node: %w", err)
	}
	go func() {
		for s := range signals {
			// The terminal's own reach the whole process group.
			if s == syscall.SIGTERM || s == syscall.SIGHUP {
				_ = cmd.Process.Signal(s)
			}
		}
	}()
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if code := exit.ExitCode(); code > 0 {
			return code, nil
		}
		return 1, err
	}
	return 0, err
}
