// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/cluster"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/devcluster/supervisor"
)

// start starts a cluster whose parts are all a shell script instead, and which
// therefore does not come up.
func start(ctx context.Context, t *testing.T, script string) (dir string, err error) {
	t.Helper()
	dir = t.TempDir()
	_, err = cluster.Start(ctx, cluster.Options{
		PartCommand: []string{"/bin/sh", "-c", script},
		Dir:         dir,
		Progress:    func(step string) { t.Log(step) },
	})
	if err == nil {
		t.Fatal("a cluster of shell scripts came up")
	}
	return dir, err
}

func TestPartThatFailsLeavesItsLog(t *testing.T) {
	t.Parallel()
	dir, err := start(t.Context(), t, "echo no luck; exit 5")
	failure, ok := errors.AsType[*supervisor.Failure](err)
	if !ok || failure.Part != "etcd" {
		t.Fatalf("error is %v, want etcd's failure", err)
	}
	kept, err2 := filepath.Glob(filepath.Join(dir, "*"))
	if err2 != nil || len(kept) != 1 || !strings.HasSuffix(err.Error(), "\nlogs of all parts: "+kept[0]) {
		t.Fatalf("kept %v, %v; error is %v", kept, err2, err)
	}
	if log, err := os.ReadFile(filepath.Join(kept[0], "etcd.log")); err != nil || string(log) != "no luck\n" {
		t.Errorf("log is %q, %v", log, err)
	}
}

func TestPartThatFailsLaterEndsTheStart(t *testing.T) {
	t.Parallel()
	_, err := start(t.Context(), t, `
		case $0 in
		etcd) echo >&3; exec sleep 1000 ;;
		*) exit 6 ;;
		esac`)
	if failure, ok := errors.AsType[*supervisor.Failure](err); !ok || failure.Part != "kube-apiserver" {
		t.Errorf("error is %v, want kube-apiserver's failure", err)
	}
}

func TestInterruptedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	cause := errors.New("interrupted")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, cause)
	defer cancel()
	dir, err := start(ctx, t, "exec sleep 1000")
	if !errors.Is(err, cause) {
		t.Errorf("error is %v, want %v", err, cause)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}
