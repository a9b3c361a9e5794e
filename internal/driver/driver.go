// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/config/v1alpha1"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/contents"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/csiserver/registration"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/mounts"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/nodelock"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/observe"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/driver/socket"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/issuance"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/trustbundle"
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
	owner     issuance.Owner
	socket    string
	config    *config.Holder
	log       *slog.Logger
	requester *issuance.Requester
	schedule  *issuance.Scheduler
	store     *volume.Store
	bundles   trustbundle.Source
	contents  contents.Maker
	// bundlePath is the file that bundles follows, and watched the watch of it.
	bundlePath string
	watched    watching
	// comparing is held while a volume is compared with what is asked for, so that what
	// comes of it is that of the last to do so. fanOut and rewrites bring live volumes what has changed beside documents.
	comparing   sync.Mutex
	fanOut      *observe.FanOut
	rewrites    *issuance.Scheduler
	event       func(warning bool, reason, note string)
	warnings    *mounts.Warnings
	volumes     volumes
	targets     mounts.TargetRegistry
	reissue     reissue
	discards    discards
	chains      chainChecks
	step        func(name string)
	firstMounts precedence
	issuances   *observe.Issuances
	server      *csiserver.Server
	// registrar is nil if somebody else registers the driver.
	registrar *registration.Registrar
	// process and locks keep other installations away.
	process nodelock.Owner
	locks   []*nodelock.Lock
	// claiming is held while the tmpfs is claimed, and claimed is set when it is.
	claiming sync.Mutex
	claimed  bool
	// planned is the configuration that renewals are planned by.
	planned *config.Config

	// life ends when the driver stops; requests to cert-manager hang on it,
	// not on the kubelet's call that began them.
	life context.Context
	stop context.CancelCauseFunc
	// background counts what goes on beside the calls of the kubelet.
	background sync.WaitGroup
}

// New returns a driver that holds the tmpfs at volume.tmpfsPath and knows the
// volumes that are there. It fails if the process may not mount, if another
// installation has what it needs of the node, or if there are no volumes, no good trust bundle, and the configuration demands one. If the tmpfs
// cannot be mounted for another reason, the driver refuses to publish until it can.
func New(options Options) (*Driver, error) {
	if options.Node == "" {
		return nil, errors.New("the name of the node is missing (--node-name, or NODE_NAME in the environment)")
	}
	snapshot := options.Config.Current()
	d, err := newDriver(options, snapshot)
	if err != nil {
		return nil, err
	}
	if err := d.open(snapshot); err != nil {
		d.unlock()
		return nil, err
	}
	return d, nil
}

// open takes what the driver needs of the node, and looks at what is there.
func (d *Driver) open(snapshot *config.Config) error {
	if err := d.lockSockets(snapshot.Driver.Name); err != nil {
		return err
	}
	if err := d.openBundle(snapshot); err != nil {
		return err
	}
	if err := d.openStore(); err != nil {
		return err
	}
	if d.store.Ready() == nil { // else that has been told of
		if err := d.claimStore(); err != nil {
			return err
		}
		return d.load(snapshot)
	}
	return nil
}

// newDriver returns a driver that has looked at nothing yet.
func newDriver(options Options, snapshot *config.Config) (*Driver, error) {
	owner := issuance.Owner{Node: options.Node}
	if name := snapshot.Driver.Name; name != Name {
		owner.Driver = name
	}
	requester, err := issuance.NewRequester(options.REST, owner, issuance.WatchScope(snapshot.CertificateRequests.Watch), options.Log)
	if err != nil {
		return nil, err
	}
	d := &Driver{
		owner: owner, socket: options.Socket, process: nodelock.Owner{Namespace: options.Pod.Namespace, Driver: snapshot.Driver.Name, Pod: options.Pod.Name},
		config: options.Config, log: options.Log,
		requester: requester, discards: newDiscards(), chains: newChainChecks(), step: options.Step,
		fanOut: observe.NewFanOut(), event: options.Event, issuances: observe.NewIssuances(),
		store: volume.New(snapshot.Volume.TmpfsPath,
			append([]volume.Setting{volume.WithSize(snapshot.Volume.TmpfsSize), volume.WithSteps(options.Step)}, options.Volume...)...),
	}
	d.warnings = &mounts.Warnings{Log: options.Log, Event: d.tell, Node: owner.Node}
	if d.step == nil {
		d.step = func(string) {}
	}
	if r := options.Registration; r != nil {
		d.registrar = &registration.Registrar{Driver: snapshot.Driver.Name, Folder: r.Folder, Endpoint: r.Endpoint, Probe: d.Probe, Log: options.Log}
	}
	d.life, d.stop = context.WithCancelCause(context.Background())
	d.schedule = issuance.NewScheduler(snapshot.Driver.MaxConcurrentRenewals, d.renew)
	d.schedule.ClockSet = d.correctObtained
	d.schedule.Before = d.letMountsGoFirst
	d.rewrites = d.newRewrites()
	d.server = d.newServer()
	requester.OnNew(d.seen)
	return d, nil
}

// Run serves the kubelet until ctx ends or the socket fails. The volumes stay
// as they are, for the next process to take over.
func (d *Driver) Run(ctx context.Context) error {
	defer d.unlock()
	defer context.AfterFunc(ctx, func() { d.stop(errStopping) })()
	listener, err := socket.Listen(ctx, d.socket)
	if err != nil {
		return fmt.Errorf("listening for the kubelet on --csi-socket %s: %w", d.socket, err)
	}
	// Whoever has been served by this process can ask it: its list's socket is there
	// before the first call is answered.
	forList := d.listenForList(ctx)
	d.requester.Start(d.life)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.server.Serve(ctx, listener) })
	group.Go(func() error { d.schedule.Run(ctx); return nil })
	group.Go(func() error { d.rewrites.Run(ctx); return nil })
	group.Go(func() error { d.follow(ctx); return nil })
	group.Go(func() error { d.followClock(ctx); return nil })
	group.Go(func() error { _ = d.rewrites.FollowClock(ctx); return nil }) // to look at it less often
	group.Go(func() error { d.discardRequests(ctx); return nil })
	group.Go(func() error { d.checkChains(ctx); return nil })
	group.Go(func() error { d.serveList(ctx, forList); return nil })
	if d.registrar != nil {
		group.Go(func() error { d.registrar.Run(ctx); return nil })
	}
	err = group.Wait()
	d.stop(errStopping)
	d.background.Wait()
	return err
}

// Ready returns nil while the driver can do its work, and the kubelet knows of
// it.
func (d *Driver) Ready() error {
	if d.life.Err() != nil {
		return errStopping
	}
	ready := errors.Join(d.store.Ready(), d.requester.Ready(), d.requireBundle(d.config.Current()))
	if d.registrar != nil {
		ready = errors.Join(ready, d.registrar.Err())
	}
	return ready
}
