// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// KubeconfigVariable is the environment variable that names the kubeconfig of
// the cluster for integration tests. It is not KUBECONFIG, so that nobody runs
// tests against the cluster that the shell happens to point to.
const KubeconfigVariable = "CSI_DRIVER_SPIFFE_TEST_KUBECONFIG"

// DevclusterVariable is the environment variable that names the devcluster
// program, for tests that need a cluster of their own: they change what all
// tests of a cluster share.
const DevclusterVariable = "CSI_DRIVER_SPIFFE_TEST_DEVCLUSTER"

// ProgramsVariable is the environment variable that names the folder with the
// two daemons, for tests that need processes which can be killed.
const ProgramsVariable = "CSI_DRIVER_SPIFFE_TEST_PROGRAMS"

// Require returns the cluster for integration tests, or skips the test and says
// how to run it.
func Require(t testing.TB) *Cluster {
	t.Helper()
	kubeconfig := os.Getenv(KubeconfigVariable)
	if kubeconfig == "" {
		t.Skipf("needs a cluster with cert-manager: run `make test`, or set %s to the kubeconfig of one", KubeconfigVariable)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount: run `make test`, which makes a user namespace")
	}
	cluster, err := Connect(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

// RequireOwn brings up a cluster for one test, or skips the test and says how
// to run it.
func RequireOwn(t testing.TB) *Cluster {
	t.Helper()
	binary := os.Getenv(DevclusterVariable)
	if binary == "" {
		t.Skipf("needs a cluster of its own: run `make test` without KUBECONFIG, or set %s to a bin/devcluster", DevclusterVariable)
	}
	command := exec.Command(binary, "up", "--until-stdin-closes")
	command.Stderr = t.Output()
	// It must outlive a Ctrl-C until the test has ended, and not outlive the test.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = command.Wait()
	})
	cluster, err := Connect(waitForKubeconfig(t, bufio.NewScanner(output)))
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

// waitForKubeconfig reads what devcluster prints when the cluster is up.
func waitForKubeconfig(t testing.TB, lines *bufio.Scanner) string {
	t.Helper()
	found := make(chan string, 1)
	go func() {
		kubeconfig := ""
		for lines.Scan() {
			if path, ok := strings.CutPrefix(lines.Text(), "KUBECONFIG="); ok {
				kubeconfig = path
			} else if strings.HasPrefix(lines.Text(), "ready") {
				found <- kubeconfig
			}
		}
		close(found)
	}()
	select {
	case kubeconfig, ok := <-found:
		if ok {
			return kubeconfig
		}
		t.Fatal("devcluster ended before the cluster was up")
	case <-time.After(3 * time.Minute):
		t.Fatal("no cluster within 3 minutes")
	}
	return ""
}

// RequirePrograms returns the folder with the two daemons, or skips the test and
// says how to run it.
func RequirePrograms(t testing.TB) string {
	t.Helper()
	folder := os.Getenv(ProgramsVariable)
	if folder == "" {
		t.Skipf("needs the two programs: run `make test`, or set %s to the folder that `make build` put them into", ProgramsVariable)
	}
	return folder
}

// GroupExists reports whether files can be given to a group: as root they can
// be given to any, in a user namespace only to those that are mapped into it.
func GroupExists(gid uint64) bool {
	data, err := os.ReadFile("/proc/self/gid_map")
	if err != nil {
		return false
	}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		var inside, outside, count uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil && gid >= inside && gid-inside < count {
			return true
		}
	}
	return false
}

// RequireGroup skips the test if files cannot be given to the group.
func RequireGroup(t testing.TB, gid uint64) {
	t.Helper()
	if !GroupExists(gid) {
		t.Skipf("needs group %d, which this user namespace does not have: run the tests as root", gid)
	}
}
