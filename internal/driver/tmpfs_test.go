// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/nodelock"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// A driver that finds something else in the way of its tmpfs goes on, and is not ready.
func TestDriverStartsWithoutItsTmpfs(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	n := newNode(t)
	check(t, os.WriteFile(n.tmpfs, nil, 0o600))
	d, err := n.start(t, nil)
	check(t, err)
	if err := d.Ready(); !errors.Is(err, volume.ErrNotMounted) || !strings.Contains(n.log.String(), "no volume can be published until this is") {
		t.Errorf("ready: %v\n%s", err, n.log)
	}
	check(t, os.Remove(n.tmpfs))
}

// hold has another installation hold the tmpfs of a node.
func (n node) hold(t *testing.T) *nodelock.Lock {
	t.Helper()
	store, err := volume.Open(n.tmpfs)
	check(t, err)
	lock, err := nodelock.Acquire(store.LockPath(), nodelock.Owner{Namespace: "spiffe-b", Driver: "b.spiffe.example.org", Pod: "csi-driver-spiffe-x7k2p"})
	check(t, err)
	return lock
}

func inPod(o *driver.Options) {
	o.Pod = types.NamespacedName{Namespace: "cert-manager", Name: "csi-driver-spiffe-8d4mz"}
}

// A driver that finds its tmpfs in use by another installation leaves it as it is.
func TestATmpfsOfAnotherInstallationIsNotChanged(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	n := newNode(t)
	lock := n.hold(t)
	size := func() uint64 {
		var stat unix.Statfs_t
		check(t, unix.Statfs(n.tmpfs, &stat))
		return stat.Blocks
	}
	before := size()
	_, err := n.start(t, func(o *driver.Options) {
		inPod(o)
		c := *o.Config.Current()
		c.Volume.TmpfsSize = 1 << 20
		o.Config.Set(&c)
	})
	if !errors.Is(err, nodelock.ErrHeld) {
		t.Errorf("got %v, want that another installation has it", err)
	}
	if after := size(); after != before {
		t.Errorf("the tmpfs had %d blocks and has %d", before, after)
	}
	check(t, lock.Release())
}

// Nor does one whose tmpfs was not there when it started put volumes into it later.
func TestATmpfsOfAnotherInstallationThatComesLater(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	n := newNode(t)
	check(t, os.WriteFile(n.tmpfs, nil, 0o600))
	d, err := n.start(t, inPod)
	check(t, err)
	kubelet, _ := n.run(t, d)
	check(t, os.Remove(n.tmpfs))
	lock := n.hold(t)
	publish := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // nobody answers a request
		defer cancel()
		_, err := csi.NewNodeClient(kubelet).NodePublishVolume(ctx, n.publishRequest())
		return err
	}
	if err := publish(); err == nil || !strings.Contains(err.Error(), nodelock.ErrHeld.Error()) {
		t.Errorf("got %v, want that another installation has it", err)
	}
	if entries, err := os.ReadDir(n.tmpfs); err != nil || len(entries) != 1 { // the lock
		t.Errorf("left in the store: %q, %v", entries, err)
	}
	check(t, lock.Release())
	if err := publish(); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("when it is free: %v, want that the API server is waited for", err)
	}
}
