// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

// Package driver is the CSI driver of a node: it gives each pod's volume its SVID, and
// renews it for as long as the volume is published. The package only puts the parts
// together:
//
//	csiserver  the kubelet's calls, checked
//	manager    one record and one worker for each volume
//	lifecycle  what is decided about a volume
//	mounts     where volumes are mounted
//	delivery   the files of an SVID, and the trust bundle
//	requests   CertificateRequests that no volume wants any more
//	observe    what operators see
//
// Make a [Driver] with [New] and call [Driver.Run].
package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/registration"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/delivery"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/listing"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/manager"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/socket"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/volume"
)

// Name is the name of the driver unless driver.name says another.
const Name = v1alpha1.DefaultDriverName

// Options is what a driver is made from. All fields but Registration, Pod, Step,
// Volume and Event are required.
type Options struct {
	// Node is the name of the Kubernetes node.
	Node string
	// Socket is the path of the UNIX socket on which the kubelet calls.
	Socket string
	// Config holds the configuration; each operation takes one snapshot.
	Config *config.Holder
	// REST is how the driver itself reaches the Kubernetes API. Its credentials
	// are never used for a pod's request.
	REST *rest.Config
	// Log is where the driver tells what it does. It never gets a secret.
	Log *slog.Logger
	// Registration has the driver register itself with the kubelet. Nil: somebody
	// else does, as the sidecar node-driver-registrar.
	Registration *Registration
	// Pod is the pod that this process runs in. Unless it is empty, New fails while
	// another installation on the node has the same driver name, socket or tmpfs.
	Pod types.NamespacedName
	// Step, unless nil, is called with the name of each thing that has just been
	// done. It is for tests that kill the process in between.
	Step func(name string)
	// Volume are more settings of where volumes are kept, for tests and simulations.
	Volume []volume.Setting
	// Event, unless nil, is told what people should see as an Event on the driver's
	// own pod. It must not block.
	Event func(warning bool, reason, note string)
}

// Registration is where the driver and the kubelet find each other.
type Registration struct {
	// Folder is the kubelet's folder for plugin registration sockets, as this
	// process sees it: plugins_registry in the kubelet's folder.
	Folder string
	// Endpoint is the path of the driver's socket as the kubelet sees it.
	Endpoint string
}

// Driver is the CSI driver of one node.
type Driver struct {
	Options

	requester *issuance.Requester
	tmpfs     *tmpfs
	bundle    *delivery.Bundle
	manager   *manager.Manager
	server    *csiserver.Server
	// registrar is nil if somebody else registers the driver.
	registrar *registration.Registrar
	locks     locks
}

// New returns a driver that holds the tmpfs at volume.tmpfsPath and knows the volumes that
// are there. It fails if the process may not mount, if another installation has what it
// needs of the node, or if there are no volumes, no good trust bundle, and the configuration
// demands one. If the tmpfs cannot be mounted for another reason, the driver refuses to
// publish until it can.
func New(options Options) (*Driver, error) {
	if options.Node == "" {
		return nil, errors.New("the name of the node is missing (--node-name, or NODE_NAME in the environment)")
	}
	if options.Event == nil {
		options.Event = func(bool, string, string) {}
	}
	c := options.Config.Current()
	d := &Driver{Options: options}
	d.locks = locks{process: processOf(options.Pod, c), log: options.Log}
	if err := d.assemble(c); err != nil {
		return nil, err
	}
	if err := d.open(c); err != nil {
		d.locks.release()
		return nil, err
	}
	return d, nil
}

// assemble makes the parts. They have looked at nothing yet.
func (d *Driver) assemble(c *config.Config) error {
	owner := issuance.Owner{Node: d.Node}
	if name := c.Driver.Name; name != Name {
		owner.Driver = name
	}
	var err error
	d.requester, err = issuance.NewRequester(d.REST, owner, issuance.WatchScope(c.CertificateRequests.Watch), d.Log)
	if err != nil {
		return err
	}
	store := volume.New(c.Volume.TmpfsPath, append([]volume.Setting{volume.WithSize(c.Volume.TmpfsSize), volume.WithSteps(d.Step)}, d.Volume...)...)
	d.tmpfs = &tmpfs{Store: store, locks: &d.locks, log: d.Log}
	d.bundle = delivery.NewBundle(d.Log, d.Event, func() { d.manager.BundleChanged() })
	d.manager = manager.New(manager.Options{
		Owner: owner, Config: d.Config, Log: d.Log, Requester: d.requester, Store: store,
		Files: delivery.NewFiles(store, d.bundle, d.Log), Bundle: d.bundle, Room: d.tmpfs.room, Step: d.Step, Event: d.Event,
	})
	d.server = csiserver.New(csiserver.Options{Node: d.Node, Config: d.Config, Volumes: d.manager, Log: d.Log})
	if r := d.Registration; r != nil {
		d.registrar = &registration.Registrar{Driver: c.Driver.Name, Folder: r.Folder, Endpoint: r.Endpoint, Probe: d.Probe, Log: d.Log}
	}
	return nil
}

// open takes what the driver needs of the node, and looks at what is there.
func (d *Driver) open(c *config.Config) error {
	if err := d.locks.sockets(c.Driver.Name, d.Socket, d.registrar); err != nil {
		return err
	}
	if err := d.bundle.Open(c, d.tmpfs.HoldsVolumes); err != nil {
		return err
	}
	if err := d.tmpfs.open(); err != nil {
		return err
	}
	if d.tmpfs.Ready() != nil {
		return nil //nolint:nilerr // It has been told of, and may go away.
	}
	if err := d.tmpfs.claim(); err != nil {
		return err
	}
	return d.manager.Recover(c)
}

// Run serves the kubelet until ctx ends or the socket fails. The volumes stay
// as they are, for the next process to take over.
func (d *Driver) Run(ctx context.Context) error {
	defer d.locks.release()
	listener, err := socket.Listen(ctx, d.Socket)
	if err != nil {
		return fmt.Errorf("listening for the kubelet on --csi-socket %s: %w", d.Socket, err)
	}
	// Whoever has been served by this process can ask it: its list's socket is there
	// before the first call is answered.
	forList := d.listenForList(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.server.Serve(ctx, listener) })
	group.Go(func() error { d.manager.Run(ctx); return nil })
	group.Go(func() error { d.serveList(ctx, forList); return nil })
	if d.registrar != nil {
		group.Go(func() error { d.registrar.Run(ctx); return nil })
	}
	err = group.Wait()
	d.manager.Close()
	return err
}

// Ready returns nil while the driver can do its work, and the kubelet knows of it.
func (d *Driver) Ready() error {
	if err := d.manager.Err(); err != nil {
		return err
	}
	ready := errors.Join(d.tmpfs.Ready(), d.requester.Ready(), d.bundle.Require(d.Config.Current()))
	if d.registrar != nil {
		ready = errors.Join(ready, d.registrar.Err())
	}
	return ready
}

// Probe calls the driver on its socket as the kubelet does, and returns nil if it answers
// before ctx ends, and says that it is ready.
func (d *Driver) Probe(ctx context.Context) error { return csiserver.Probe(ctx, d.Socket) }

// BundleDetail says what is wrong with the trust bundle's file, in a line, and is empty if
// it is in force.
func (d *Driver) BundleDetail() string { return d.bundle.Detail() }

// List tells what volumes the node has, and how they are.
func (d *Driver) List() listing.List { return observe.List(d.Node, d.manager.Snapshots()) }

// VolumesOutdated returns how many volumes do not have the trust bundle that is in force, or
// not the files that the configuration asks for.
func (d *Driver) VolumesOutdated() int {
	return d.count(func(s observe.Snapshot) bool { return s.Outdated })
}

// VolumesToReissue returns how many volumes have an SVID that is not what the configuration
// asks for now.
func (d *Driver) VolumesToReissue() int {
	return d.count(func(s observe.Snapshot) bool { return s.ToReissue })
}

// VolumesShadowed returns how many volumes were mounted over something else.
func (d *Driver) VolumesShadowed() int {
	return d.count(func(s observe.Snapshot) bool { return s.Shadowed != "" })
}

func (d *Driver) count(is func(observe.Snapshot) bool) (n int) {
	for s := range d.manager.Snapshots() {
		if is(s) {
			n++
		}
	}
	return n
}

// Metrics returns what the driver tells of its volumes and of the kubelet's calls, none of
// it by pod.
func (d *Driver) Metrics() []prometheus.Collector {
	return append(d.manager.Metrics(),
		observe.NewVolumeMetrics(d.manager.Snapshots, d.Config.Current, time.Now),
		observe.NewBundleMetrics(func() bool { return d.Config.Current().TrustBundle.Path != "" }, d.bundle.Status),
		d.server.Metrics()[0],
	)
}

// noAnswer is told of where the command volumes cannot be served.
const noAnswer = "the command volumes will get no answer"

// listenForList makes the socket of the command volumes, or returns nil: that
// there is none is no reason not to serve the kubelet.
func (d *Driver) listenForList(ctx context.Context) net.Listener {
	listener, err := socket.Listen(ctx, listing.Socket(d.Socket))
	if err != nil {
		d.Log.Warn(noAnswer, "error", err)
		return nil
	}
	return listener
}

// serveList answers the command volumes until ctx ends.
func (d *Driver) serveList(ctx context.Context, listener net.Listener) {
	if listener == nil {
		return
	}
	if err := listing.Serve(ctx, listener, d.List); err != nil {
		d.Log.Warn(noAnswer, "error", err)
	}
}
