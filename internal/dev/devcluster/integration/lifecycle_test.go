// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// assertGone checks that nothing is left of a cluster.
func assertGone(t *testing.T, dir string, pids map[int]string) {
	t.Helper()
	for pid, cmdline := range pids {
		eventually(t, "end of "+cmdline, func() bool { return !running(pid) })
	}
	eventually(t, "removal of "+dir, func() bool { return !exists(dir) })
}

func TestUpEndsWithoutTrace(t *testing.T) {
	t.Parallel()
	ends := map[string]func(*instance) error{
		"SIGINT":       func(i *instance) error { return i.cmd.Process.Signal(syscall.SIGINT) },
		"SIGTERM":      func(i *instance) error { return i.cmd.Process.Signal(syscall.SIGTERM) },
		"end of stdin": func(i *instance) error { return i.stdin.Close() },
		"kill -9":      func(i *instance) error { return i.cmd.Process.Kill() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) { // one after another: each takes all CPUs to start
			dir := t.TempDir()
			i := up(t, "--dir", dir)
			pids := children(t, i.cmd.Process.Pid)
			if len(pids) != 5 { // four parts and the janitor
				t.Errorf("children: %v", pids)
			}
			if err := end(i); err != nil {
				t.Fatal(err)
			}
			err := i.cmd.Wait()
			if name != "kill -9" && err != nil {
				t.Errorf("exit: %v\n%s", err, i.stderr)
			}
			assertGone(t, filepath.Dir(i.kubeconfig), pids)
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("left over: %v, %v", left, err)
			}
		})
	}
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"first", "second"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newClients(t, up(t).kubeconfig).createNamespace(t)
		})
	}
}

func TestUpRefusesExistingKubeconfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mine")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary(t), "up", "--kubeconfig", file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "file exists") {
		t.Errorf("up: %v\n%s", err, out)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "precious" {
		t.Errorf("file is now %q, %v", got, err)
	}
}

func TestCrashOfAPartIsReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	i := up(t, "--dir", dir)
	pids := children(t, i.cmd.Process.Pid)
	if err := syscall.Kill(child(t, i.cmd.Process.Pid, "part cert-manager-webhook"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := i.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("exit: %v", err)
	}
	if want := "cert-manager-webhook ended unexpectedly (signal: killed)"; !strings.Contains(i.stderr.String(), want) {
		t.Errorf("no %q in:\n%s", want, i.stderr)
	}
	assertGone(t, filepath.Dir(i.kubeconfig), pids)
	match := regexp.MustCompile("logs of all parts: (.*)").FindStringSubmatch(i.stderr.String())
	if len(match) != 2 || !exists(filepath.Join(match[1], "kube-apiserver.log")) {
		t.Errorf("logs are not kept: %q", match)
	}
}
