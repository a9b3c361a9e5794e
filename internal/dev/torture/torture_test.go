// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package torture_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/torture"
)

const repository = "../../.."

// The short form of `make torture`.
func TestNoPodNoticesThatTheDriverIsKilled(t *testing.T) {
	t.Parallel()
	cluster := testkit.Require(t)
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "./cmd/...", "./internal/dev/torture/cmd/killable")
	build.Dir, build.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// A UNIX socket's path must be short, and t.TempDir is named after the test.
	dir, err := os.MkdirTemp("", "torture")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	report, err := torture.Run(t.Context(), torture.Options{
		Cluster: cluster, Repository: repository, Bin: bin, Dir: dir, Log: t.Output(), Seed: 1,
		Kills: 8, Rounds: 1, Volumes: 8, Lifetime: 30 * time.Second, Pause: 3 * time.Second,
		Points: []string{"pending request written", "files swapped", "metadata written", "volume mounted"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", report)
	for _, fault := range report.Faults {
		t.Error(fault)
	}
	if len(report.Missed) > 0 || report.Published == 0 {
		t.Error("the test did not do what it should")
	}
}
