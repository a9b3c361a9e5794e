// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package boot is what runs on a devcluster's node below the kubelet: the
// machine, which is switched on again whenever it is off, and its init.
package boot

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/node"
)

// RunMachine starts the node's init in a PID and a mount namespace of its own,
// and again when it was killed, until this process gets SIGTERM: then it returns
// nil, and every process of the node is gone. It runs in the state folder.
func RunMachine() error {
	settings, err := node.ReadSettings()
	if err != nil {
		return err
	}
	// Linux takes the end of the starting thread for the parent's death.
	runtime.LockOSThread()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	for {
		started := time.Now()
		init, err := powerOn(settings)
		if err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- init.Wait() }()
		select {
		case <-stop:
			// With the first process of a PID namespace all others end, and only then
			// does Wait return.
			_ = init.Process.Kill()
			<-ended
			return nil
		case err := <-ended:
			fmt.Fprintf(os.Stderr, "node: off after %v: %v\n", time.Since(started).Round(time.Millisecond), err)
			if time.Since(started) < time.Second {
				return fmt.Errorf("the node does not start: %w", err)
			}
			if err := node.ClearCgroups(settings.Cgroup); err != nil {
				return err
			}
		}
	}
}

func powerOn(settings node.Settings) (*exec.Cmd, error) {
	init := exec.Command(settings.Executable, "part", node.Init)
	init.Stdout, init.Stderr = os.Stdout, os.Stderr
	init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := init.Start(); err != nil {
		return nil, fmt.Errorf("making namespaces for the node: %w", err)
	}
	pid := []byte(strconv.Itoa(init.Process.Pid))
	// In one step, for whoever reads it meanwhile.
	if err := os.WriteFile(node.InitPID+".new", pid, 0o600); err != nil {
		return init, err
	}
	return init, os.Rename(node.InitPID+".new", node.InitPID)
}
