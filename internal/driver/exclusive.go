// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/registration"
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

// locks keep other installations from what this one has of the node.
type locks struct {
	process nodelock.Owner
	log     *slog.Logger
	held    []*nodelock.Lock
}

// processOf is this process, as other installations see it.
func processOf(pod types.NamespacedName, c *config.Config) nodelock.Owner {
	return nodelock.Owner{Namespace: pod.Namespace, Driver: c.Driver.Name, Pod: pod.Name}
}

// sockets makes sure that no other installation on this node has the driver's name or its
// socket, before either is taken from it.
func (l *locks) sockets(name, socket string, registrar *registration.Registrar) error {
	const advice = "give this installation a driver.name and a CSIDriver object of its own, or remove the other installation"
	if registrar != nil {
		if err := l.take(lockOf(registrar.Socket()), fmt.Sprintf("driver.name %q", name), advice); err != nil {
			return err
		}
	}
	return l.take(lockOf(socket), fmt.Sprintf("--csi-socket %s", socket), advice)
}

// tmpfs makes sure that no other installation has its volumes in the tmpfs.
func (l *locks) tmpfs(path, root string) error {
	return l.take(path, fmt.Sprintf("volume.tmpfsPath %s", root),
		"give this installation a folder of its own, in the configuration and as hostPath of the DaemonSet")
}

// lockOf is the lock for a socket. The kubelet takes no notice of hidden files among
// the sockets of plugins.
func lockOf(socket string) string {
	return filepath.Join(filepath.Dir(socket), "."+filepath.Base(socket)+".lock")
}

// take takes a lock for as long as the driver runs. It fails if another installation
// has it; that the lock cannot be taken for another reason keeps no driver from
// starting.
func (l *locks) take(path, what, advice string) error {
	if l.process.Namespace == "" {
		return nil
	}
	lock, err := nodelock.Acquire(path, l.process)
	switch {
	case errors.Is(err, nodelock.ErrHeld):
		return fmt.Errorf("%s is in use: %w; %s", what, err, advice)
	case err != nil:
		l.log.Warn("another installation of the driver on this node would not be noticed", "what", what, "error", err)
	default:
		l.held = append(l.held, lock)
	}
	return nil
}

// release releases what take has taken.
func (l *locks) release() {
	for _, lock := range l.held {
		if err := lock.Release(); err != nil {
			l.log.Warn("releasing a lock failed; it ends with the process", "error", err)
		}
	}
	l.held = nil
}
