// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/nodelock"
)

// CheckName returns an error if the configuration names another driver than the
// CSIDriver object that was installed with this process: the kubelet would treat
// the volumes of one by the settings of the other, or of none.
func CheckName(c *config.Config, object string) error {
	if object == "" || object == c.Driver.Name {
		return nil
	}
	return fmt.Errorf("driver.name is %q in the configuration, but the CSIDriver object of this installation is %q (--csidriver-object): "+
		"give both the same name, which no other installation has", c.Driver.Name, object)
}

// lockSockets makes sure that no other installation on this node has the driver's
// name or its socket, before either is taken from it.
func (d *Driver) lockSockets(name string) error {
	const advice = "give this installation a driver.name and a CSIDriver object of its own, or remove the other installation"
	if d.registrar != nil {
		if err := d.lock(lockOf(d.registrar.Socket()), fmt.Sprintf("driver.name %q", name), advice); err != nil {
			return err
		}
	}
	return d.lock(lockOf(d.socket), fmt.Sprintf("--csi-socket %s", d.socket), advice)
}

// lockStore makes sure that no other installation has its volumes in the tmpfs.
func (d *Driver) lockStore() error {
	return d.lock(d.store.LockPath(), fmt.Sprintf("volume.tmpfsPath %s", d.store.Root()),
		"give this installation a folder of its own, in the configuration and as hostPath of the DaemonSet")
}

// lockOf is the lock for a socket. The kubelet takes no notice of hidden files among
// the sockets of plugins.
func lockOf(socket string) string {
	return filepath.Join(filepath.Dir(socket), "."+filepath.Base(socket)+".lock")
}

// lock takes a lock for as long as the driver runs. It fails if another installation
// has it; that the lock cannot be taken for another reason keeps no driver from
// starting.
func (d *Driver) lock(path, what, advice string) error {
	if d.process.Namespace == "" {
		return nil
	}
	lock, err := nodelock.Acquire(path, d.process)
	switch {
	case errors.Is(err, nodelock.ErrHeld):
		return fmt.Errorf("%s is in use: %w; %s", what, err, advice)
	case err != nil:
		d.log.Warn("another installation of the driver on this node would not be noticed", "what", what, "error", err)
	default:
		d.locks = append(d.locks, lock)
	}
	return nil
}

// unlock releases what lock has taken.
func (d *Driver) unlock() {
	for _, lock := range d.locks {
		if err := lock.Release(); err != nil {
			d.log.Warn("releasing a lock failed; it ends with the process", "error", err)
		}
	}
	d.locks = nil
}
