// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/node"
)

// RunInit is the first process of the node: it mounts, starts containerd, imports
// the images, starts the kubelet, and then reaps whatever ends, until it is
// killed. It runs in the state folder.
func RunInit() error {
	settings, err := node.ReadSettings()
	if err != nil {
		return err
	}
	if os.Getpid() != 1 {
		return errors.New("not the first process of a PID namespace")
	}
	if err := mountAll(settings); err != nil {
		return err
	}
	if err := os.Setenv("PATH", settings.Programs.Path); err != nil {
		return err
	}
	containerd := &service{name: "containerd", command: []string{
		settings.Programs.Find("containerd"), "--config", filepath.Join(settings.State, "node/containerd.toml"),
	}}
	kubelet := &service{name: node.Kubelet, command: []string{settings.Executable, "part", node.Kubelet}}
	if err := containerd.start(); err != nil {
		return err
	}
	if err := importImages(settings); err != nil {
		return err
	}
	if err := kubelet.start(); err != nil {
		return err
	}
	restart := make(chan os.Signal, 1)
	signal.Notify(restart, syscall.SIGHUP)
	go func() {
		for range restart {
			kubelet.kill()
		}
	}()
	return reap(containerd, kubelet)
}

// importImages waits for containerd and has it import images, once: they stay on
// disk.
func importImages(settings node.Settings) error {
	const done = "node/images-imported"
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	ctr := func(args ...string) ([]byte, error) {
		args = append([]string{"--address", node.Socket, "--namespace", "k8s.io"}, args...)
		return exec.Command(settings.Programs.Find("ctr"), args...).CombinedOutput()
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		out, err := ctr("version")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("containerd does not answer (see its log): %w: %s", err, out)
		}
	}
	for _, image := range settings.Images {
		if out, err := ctr("images", "import", image); err != nil {
			return fmt.Errorf("importing %s: %w: %s", image, err, out)
		}
	}
	return os.WriteFile(done, nil, 0o600)
}

// reap waits for all processes of the node that have nobody else to do so, and
// starts services again that have ended.
func reap(services ...*service) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return err
		}
		for _, s := range services {
			if !s.ended(pid) {
				continue
			}
			fmt.Fprintf(os.Stderr, "node: %s ended (%s), starting it again\n", s.name, describe(status))
			if err := s.start(); err != nil {
				return err
			}
		}
	}
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return status.Signal().String()
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}
