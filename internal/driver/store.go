// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// openStore mounts the tmpfs, or takes over that of an earlier process, and tells
// what is wrong with it. It fails if the process has not the right to mount,
// which it will not get. Whatever else is in the way may go away: live volumes
// are served meanwhile, and each publish tries again.
func (d *Driver) openStore() error {
	switch err := d.store.Ensure(); {
	case errors.Is(err, fs.ErrPermission):
		return err
	case err != nil:
		d.log.Error("no volume can be published until this is mended", "error", err)
		return nil
	}
	if d.store.Swappable() {
		d.log.Warn("the tmpfs is not mounted with noswap (Linux 6.4 and later, and not in a user namespace): keys may be swapped out", "tmpfs", d.store.Root())
	}
	if shared, err := d.store.IsShared(); err == nil && !shared {
		d.log.Warn("the tmpfs is not shared with other mount namespaces: if this is a container, running pods get no new documents after its end; "+
			"mount a folder above it with mountPropagation: Bidirectional", "tmpfs", d.store.Root())
	}
	if inUserNamespace() {
		d.log.Warn("the driver is in a user namespace: what it mounts reaches pods only if the kubelet is in the same one; " +
			"if this is a pod with hostUsers: false, remove that")
	}
	return nil
}

// claimStore makes sure that the tmpfs is no other installation's, before anything of it
// is changed. It does so once, when the tmpfs is there: that may be after the start.
func (d *Driver) claimStore() error {
	d.claiming.Lock()
	defer d.claiming.Unlock()
	if d.claimed {
		return nil
	}
	if err := d.lockStore(); err != nil {
		return err
	}
	d.claimed = true
	if err := d.store.Resize(); err != nil {
		d.log.Warn("the tmpfs of an earlier process keeps its size", "error", err)
	}
	return nil
}

// roomInStore returns nil if the tmpfs is there, is this installation's and has room for
// another volume.
func (d *Driver) roomInStore() error {
	if err := d.store.HasRoom(); err != nil {
		return err
	}
	return d.claimStore()
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

// followClock has renewals follow the wall clock when that is set.
func (d *Driver) followClock(ctx context.Context) {
	if err := d.schedule.FollowClock(ctx); err != nil {
		d.log.Warn("that the clock was set is noticed within a minute only", "error", err)
	}
}
