// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
)

// newServer returns the server that the kubelet calls.
func (d *Driver) newServer() *csiserver.Server {
	return csiserver.New(csiserver.Options{Node: d.owner.Node, Config: d.config, Volumes: served{d}, Log: d.log})
}

// Probe calls the driver on its socket as the kubelet does, and returns nil if it answers
// before ctx ends. A driver whose process lives and which does not answer has to be started
// anew.
func (d *Driver) Probe(ctx context.Context) error { return csiserver.Probe(ctx, d.socket) }

// served is what the driver does for the kubelet.
type served struct{ driver *Driver }

// Publish implements [csiserver.Volumes].
func (s served) Publish(ctx context.Context, c *config.Config, request manager.PublishRequest) error {
	return s.driver.publish(ctx, c, request)
}

// Keeps implements [csiserver.Volumes].
func (s served) Keeps(c *config.Config, request manager.UnusableRequest, err error) bool {
	return s.driver.isThere(c, request, err)
}

// Unpublish implements [csiserver.Volumes].
func (s served) Unpublish(ctx context.Context, id, target string) error {
	return s.driver.unpublish(ctx, id, target)
}

// IsAt implements [csiserver.Volumes].
func (s served) IsAt(id, target string) bool {
	if s.driver.targets.Volume(target) == id {
		return true
	}
	live := s.driver.snapshotOf(id).Live
	return live != nil && live.TargetPath == target
}

// Occupied implements [csiserver.Volumes].
func (s served) Occupied(id, target string) error { return s.driver.targets.Check(target, id) }

// Snapshot implements [csiserver.Volumes].
func (s served) Snapshot(id string) observe.Snapshot { return s.driver.snapshotOf(id) }
