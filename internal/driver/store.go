// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"io/fs"
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
	if err := d.store.Resize(); err != nil {
		d.log.Warn("the tmpfs of an earlier process keeps its size", "error", err)
	}
	return nil
}

// followClock has renewals follow the wall clock when that is set.
func (d *Driver) followClock(ctx context.Context) {
	if err := d.schedule.FollowClock(ctx); err != nil {
		d.log.Warn("that the clock was set is noticed within a minute only", "error", err)
	}
}
