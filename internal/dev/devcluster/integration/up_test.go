// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// An instance is a running "devcluster up".
type instance struct {
	cmd        *exec.Cmd
	stdin      io.Closer // closing it ends the cluster
	kubeconfig string
	stderr     *strings.Builder // complete after wait
}

func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("DEVCLUSTER_BINARY")
	if path == "" {
		t.Skip("DEVCLUSTER_BINARY does not name a devcluster binary")
	}
	return path
}

// up starts a cluster and waits until it is ready. It ends with the test.
func up(t *testing.T, args ...string) *instance {
	t.Helper()
	cmd := exec.Command(binary(t), append([]string{"up", "--until-stdin-closes"}, args...)...)
	i := &instance{cmd: cmd, stderr: new(strings.Builder)}
	cmd.Stderr = i.stderr
	var err error
	if i.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		i.stdin.Close()
		_ = cmd.Wait() // Tests that care have waited before.
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if path, ok := strings.CutPrefix(lines.Text(), "KUBECONFIG="); ok {
			i.kubeconfig = path
		}
		if strings.HasPrefix(lines.Text(), "ready after ") {
			return i
		}
	}
	t.Fatalf("devcluster up ended before it was ready: %v\n%s", cmd.Wait(), i.stderr)
	return nil
}
