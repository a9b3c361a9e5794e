// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// devclusterExec prepares "devcluster exec" of a shell script, with its output
// and state in separate places.
func devclusterExec(t *testing.T, script string) (cmd *exec.Cmd, out *strings.Builder, dir string) {
	t.Helper()
	dir, out = t.TempDir(), new(strings.Builder)
	cmd = exec.Command(binary(t), "exec", "--dir", dir, "--", "sh", "-c", script)
	cmd.Stdout = out
	return cmd, out, dir
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

func TestExecPassesOn(t *testing.T) {
	t.Parallel()
	cmd, out, dir := devclusterExec(t, `cat; test -r "$KUBECONFIG" && echo "$KUBECONFIG"; exit 7`)
	cmd.Stdin = strings.NewReader("input\n")
	if code := exitCode(cmd.Run()); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	kubeconfig, ok := strings.CutPrefix(strings.TrimSpace(out.String()), "input\n"+dir)
	if !ok || filepath.Base(kubeconfig) != "kubeconfig" {
		t.Errorf("output is %q", out)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestExecForwardsSignals(t *testing.T) {
	t.Parallel()
	cmd, out, dir := devclusterExec(t, `trap 'echo got it; exit 3' TERM; touch ready; while :; do sleep 0.01; done`)
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command to run", func() bool { return exists(filepath.Join(cmd.Dir, "ready")) })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(cmd.Wait()); code != 3 || out.String() != "got it\n" {
		t.Errorf("exit code %d, output %q", code, out)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestExecReportsTheCommandsSignal(t *testing.T) {
	t.Parallel()
	cmd, _, _ := devclusterExec(t, "kill -KILL $$")
	if code := exitCode(cmd.Run()); code != 128+9 {
		t.Errorf("exit code %d, want 137", code)
	}
}

func TestInterruptedStartEndsAtOnce(t *testing.T) {
	t.Parallel()
	cmd, out, dir := devclusterExec(t, "echo ran")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "etcd to run", func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, "*", "etcd.sock"))
		return len(found) == 1
	})
	begin := time.Now()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(cmd.Wait()); code != 1 || out.String() != "" {
		t.Errorf("exit code %d, output %q", code, out)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}
