// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
)

// Options is what an approver is made from. All fields are required.
type Options struct {
	// Identity tells this replica from the others in the Lease: the pod's name.
	Identity string
	// Namespace is where the Lease of the leader election lies.
	Namespace string
	// Config holds the configuration; each decision takes one snapshot.
	Config *config.Holder
	// REST is how the Kubernetes API is reached.
	REST *rest.Config
	// Log is where each decision is told.
	Log *slog.Logger
}

// Approver decides CertificateRequests.
type Approver struct {
	identity, namespace string
	config              *config.Holder
	log                 *slog.Logger
	certManager         cmclient.Interface
	kubernetes          kubernetes.Interface
	rollout             rollout
	synced              atomic.Bool
}

// New returns an approver. It does not talk to the cluster yet.
func New(options Options) (*Approver, error) {
	certManager, err := cmclient.NewForConfig(options.REST)
	if err != nil {
		return nil, fmt.Errorf("building the cert-manager client: %w", err)
	}
	clientset, err := kubernetes.NewForConfig(options.REST)
	if err != nil {
		return nil, fmt.Errorf("building the Kubernetes client: %w", err)
	}
	a := &Approver{
		identity: options.Identity, namespace: options.Namespace,
		config: options.Config, log: options.Log,
		certManager: certManager, kubernetes: clientset,
	}
	a.takeConfig()
	return a, nil
}

// follow takes up changes of the configuration until ctx ends. Requests that
// nobody has decided are looked at again: those for another issuer may be ours
// now, and those that were put off may be good.
func (a *Approver) follow(ctx context.Context, box *inbox) {
	changes, cancel := a.config.Subscribe()
	defer cancel()
	for {
		a.takeConfig()
		box.putAll()
		select {
		case <-ctx.Done():
			return
		case <-changes:
		}
	}
}

func (a *Approver) takeConfig() {
	c := a.config.Current()
	a.rollout.change(c.Policy(), time.Now(), c.Rollout.GracePeriod)
}

// Run decides requests, while this replica is the leader, until ctx ends. It
// watches from the beginning, so that a replica that becomes the leader can
// decide at once.
func (a *Approver) Run(ctx context.Context) error {
	box, err := a.watch(ctx)
	if err != nil {
		return err
	}
	go a.follow(ctx, box)
	election := a.config.Current().Approver.LeaderElection
	if !election.Enabled {
		a.work(ctx, box)
		return nil
	}
	return a.elect(ctx, election, func(ctx context.Context) { a.work(ctx, box) })
}

// errNotSynced means that the requests of the cluster are not known yet.
var errNotSynced = errors.New("the API server has not answered to list and watch of CertificateRequests (is cert-manager installed, and may the approver do that?)")

// Ready returns nil if this replica could decide requests, whether it is the
// leader or not.
func (a *Approver) Ready() error {
	if !a.synced.Load() {
		return errNotSynced
	}
	return nil
}
