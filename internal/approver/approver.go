// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/certrequest"
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
	requests            *certrequest.Client
	// largeStatus is a semaphore of one: a worker holds it while it has a status of
	// unbounded size in memory.
	largeStatus     chan struct{}
	leases          coordination.LeasesGetter
	rollout         rollout
	undecided       *undecidedRequests
	sources         *sources
	metrics         *metrics
	denials         *denials
	logThrottle     logThrottle
	webhookThrottle webhookThrottle
	// lease tells whether the Lease is renewed in time, if this replica has it.
	lease *leaderelection.HealthzAdaptor
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
	// Whatever limit there is on requests, the Lease must not wait for it.
	unlimited := rest.CopyConfig(options.REST)
	unlimited.QPS, unlimited.RateLimiter = -1, nil
	leases, err := coordination.NewForConfig(unlimited)
	if err != nil {
		return nil, fmt.Errorf("building the client for the Lease: %w", err)
	}
	a := &Approver{
		identity: options.Identity, namespace: options.Namespace,
		config: options.Config, log: options.Log,
		certManager: certManager, requests: certrequest.New(certManager.CertmanagerV1().RESTClient(), certrequest.Limits{Certificate: maxChain}),
		leases: leases, lease: leaderelection.NewLeaderHealthzAdaptor(leaseTolerance),
		largeStatus: make(chan struct{}, 1),
	}
	a.undecided = newUndecidedRequests(a.rollout.isOurs)
	a.undecided.onForeignApproval = a.warnForeignApproval
	a.sources = &sources{
		undecided: a.undecided, requests: a.requests, log: options.Log,
		running: map[scope]runningSource{},
	}
	a.metrics = newMetrics(a.undecided, a.sources)
	a.denials = newDenials(clientset, a.metrics.eventsDropped)
	a.takeConfig()
	return a, nil
}

// Metrics returns what the approver tells of its decisions, none of it by
// request, namespace or requester.
func (a *Approver) Metrics() []prometheus.Collector { return a.metrics.collectors() }

// Run decides requests, while this replica is the leader, until ctx ends. It
// watches from the beginning, so that a replica that becomes the leader can
// decide at once.
func (a *Approver) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer a.denials.start(ctx)()
	var following sync.WaitGroup
	following.Go(func() { a.follow(ctx) })
	defer following.Wait()
	defer stop()
	election := a.config.Current().Approver.LeaderElection
	if !election.Enabled {
		a.work(ctx)
		return nil
	}
	return a.elect(ctx, election, a.work)
}

// follow takes up changes of the configuration until ctx ends, and runs the
// watches that it asks for. Requests that nobody has decided are looked at
// again: those that were put off may be good, and those that were left alone
// may be ours.
func (a *Approver) follow(ctx context.Context) {
	changes, cancel := a.config.Subscribe()
	defer cancel()
	defer a.sources.ending.Wait()
	for {
		a.takeConfig()
		needed, until := a.rollout.scopes(time.Now())
		a.sources.set(ctx, needed)
		a.undecided.enqueueAll()
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case <-after(until):
		}
	}
}

// after returns a channel that receives at a time, or never if that is zero.
func after(t time.Time) <-chan time.Time {
	if t.IsZero() {
		return nil
	}
	return time.After(time.Until(t))
}

func (a *Approver) takeConfig() {
	c := a.config.Current()
	if former := a.rollout.formerIssuer(c.Policy(), c.Approver.Others()); former != "" {
		a.log.Warn("issuerRef has changed, and the previous issuer is not in approver.formerIssuers: list it there until its root has left every trust bundle; otherwise approver.approveOthers approves requests to it",
			"formerIssuer", former, "issuer", c.IssuerRef.String())
	}
	a.rollout.change(c.Policy(), c.Approver.Others(), time.Now(), c.Rollout.GracePeriod)
}

// Ready returns nil if this replica could decide requests, whether it is the
// leader or not, and otherwise why it could not.
func (a *Approver) Ready() error { return a.sources.ready() }
