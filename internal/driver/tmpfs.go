// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// tmpfs is where the volumes are. It is taken from no other installation.
type tmpfs struct {
	*volume.Store

	locks *locks
	log   *slog.Logger
	// claiming is held while the tmpfs is claimed, and claimed is set when it is.
	claiming sync.Mutex
	claimed  bool
}

// open mounts the tmpfs, or takes over that of an earlier process, and tells what is wrong
// with it. It fails if the process has not the right to mount, which it will not get.
// Whatever else is in the way may go away: volumes that are published are served meanwhile,
// and each publish tries again.
func (t *tmpfs) open() error {
	switch err := t.Ensure(); {
	case errors.Is(err, fs.ErrPermission):
		return err
	case err != nil:
		t.log.Error("no volume can be published until this is fixed", "error", err)
		return nil
	}
	if t.Swappable() {
		t.log.Warn("the tmpfs is not mounted with noswap (Linux 6.4 and later, and not in a user namespace): keys may be swapped out", "tmpfs", t.Root())
	}
	if shared, err := t.IsShared(); err == nil && !shared {
		t.log.Warn("the tmpfs is not shared with other mount namespaces: if this is a container, running pods get no new SVIDs after its end; "+
			"mount a folder above it with mountPropagation: Bidirectional", "tmpfs", t.Root())
	}
	if inUserNamespace() {
		t.log.Warn("the driver is in a user namespace: what it mounts reaches pods only if the kubelet is in the same one; " +
			"if this is a pod with hostUsers: false, remove that")
	}
	return nil
}

// claim makes sure that the tmpfs is no other installation's, before anything of it is
// changed. It does so once, when the tmpfs is there: that may be after the start.
func (t *tmpfs) claim() error {
	t.claiming.Lock()
	defer t.claiming.Unlock()
	if t.claimed {
		return nil
	}
	if err := t.locks.tmpfs(t.LockPath(), t.Root()); err != nil {
		return err
	}
	t.claimed = true
	if err := t.Resize(); err != nil {
		t.log.Warn("the tmpfs of an earlier process keeps its size", "error", err)
	}
	return nil
}

// room returns nil if the tmpfs is there, is this installation's and has room for another
// volume.
func (t *tmpfs) room() error {
	if err := t.HasRoom(); err != nil {
		return err
	}
	return t.claim()
}

// inUserNamespace reports whether the process is in another user namespace than the first.
// The kernel does not propagate mounts from there to the mount namespaces of others, though
// it says that they are shared (mount_namespaces(7), "Restrictions on mount namespaces").
func inUserNamespace() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !mapsAllIDs(string(ids))
}

// mapsAllIDs reports whether a map of IDs is that of the first user namespace, which maps
// each to itself (user_namespaces(7), "User and group ID mappings").
func mapsAllIDs(ids string) bool {
	return slices.Equal(strings.Fields(ids), []string{"0", "0", "4294967295"})
}
