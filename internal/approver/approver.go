// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package approver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

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

// errLeadershipLost ends a replica that could not renew its Lease: it starts
// again as a candidate.
var errLeadershipLost = errors.New("leadership was lost: the Lease could not be renewed in time")

// elect calls lead while this replica holds the Lease. It returns when ctx
// ends and lead has returned. The Lease is released, so that another replica
// takes over at once; a decision that is under way then does no harm.
func (a *Approver) elect(ctx context.Context, c config.LeaderElection, lead func(context.Context)) error {
	// Held while this replica leads, so that its end can be waited for.
	var leading sync.Mutex
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: c.LeaseName,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: a.namespace, Name: c.LeaseName},
			Client:     a.leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: a.identity},
		},
		LeaseDuration: c.LeaseDuration, RenewDeadline: c.RenewDeadline, RetryPeriod: c.RetryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				leading.Lock()
				defer leading.Unlock()
				a.log.Info("leading", "identity", a.identity, "lease", a.namespace+"/"+c.LeaseName)
				lead(ctx)
			},
			OnStoppedLeading: func() { a.log.Info("not leading", "identity", a.identity) },
			OnNewLeader:      func(identity string) { a.log.Info("leader elected", "identity", identity) },
		},
	})
	if err != nil {
		return fmt.Errorf("approver.leaderElection: %w", err)
	}
	a.lease.SetLeaderElection(elector)
	elector.Run(ctx)
	leading.Lock()
	defer leading.Unlock()
	if ctx.Err() == nil {
		return errLeadershipLost
	}
	return nil
}

// Why the approver has to be restarted.
var (
	// errLeaseExpired is for a leader that has neither renewed its Lease nor ended.
	errLeaseExpired = errors.New("the Lease of the leader election has expired, and this replica did not notice")
	// errWorkerStuck is for a decision that does not end.
	errWorkerStuck = errors.New("a worker is stuck in a decision")
	// errNotDeciding is for requests that nobody decides.
	errNotDeciding = errors.New("this replica leads and does not decide")
	// errWatchDead is for a watch that is neither answered nor refused.
	errWatchDead = errors.New("the watch on CertificateRequests has ended or hangs")
)

const (
	// leaseTolerance is how long after the Lease has expired the leader may still
	// be taken for healthy; Kubernetes' own components use the same.
	leaseTolerance = 20 * time.Second
	// stuckAfter is how long a decision may be in the hands of a worker, and how
	// long a request may be due before a worker takes it up. Whatever the API server
	// does, fetching a request and writing a decision are each given up after
	// updateTimeout.
	stuckAfter = 2 * updateTimeout
	// silentAfter is how long there may be no outcome of a list or watch, good or
	// bad. The API server ends a watch after ten minutes at most, and one that
	// cannot begin fails within listwatch.LongestCall.
	silentAfter = 20 * time.Minute
)

// Healthy returns nil, or why this replica has to be restarted. It is for a
// liveness probe, and fails when
//
//   - this replica holds the Lease, and has neither renewed it nor ended in time;
//   - a worker has been in one decision for longer than stuckAfter;
//   - this replica leads, a request has been due for longer than stuckAfter, and
//     it is not because of others: it is not waiting in the queue at all, or no
//     worker has taken anything from the queue for as long;
//   - a watch has ended, or there has been no outcome of a call for silentAfter.
//
// A restart must be of use: it stays nil while the API server or cert-manager's
// webhook is away, slow or refuses, while a right is missing, while a request
// waits for a policy that may be on its way, and while a backlog is worked off,
// however long that takes. Those are for [Approver.Ready] and the metrics. A
// replica that stands by is healthy if its watch and its election are.
func (a *Approver) Healthy(context.Context) error {
	now := time.Now()
	if err := a.lease.Check(nil); err != nil {
		return fmt.Errorf("%w: %w", errLeaseExpired, err)
	}
	if err := a.sources.alive(now); err != nil {
		return err
	}
	return a.stalled(now)
}

// stalled returns nil if this replica does not lead, or decides what is due.
func (a *Approver) stalled(now time.Time) error {
	queue := a.undecided.activeQueue()
	if queue == nil {
		return nil
	}
	if i, since := queue.fair.order.longestInHand(); !since.IsZero() && now.Sub(since) > stuckAfter {
		return fmt.Errorf("%w: about request %s of namespace %s, for %s", errWorkerStuck, i.uid, i.namespace, now.Sub(since).Round(time.Second))
	}
	oldest, ok := a.undecided.oldestDue(queue, now.Add(-stuckAfter))
	if !ok || queue.fair.order.isServed(oldest.item(), now.Add(-stuckAfter)) {
		return nil
	}
	// It may have been decided since it was looked up.
	if e, ok := a.undecided.get(oldest.request.UID); !ok || !e.due.Equal(oldest.due) {
		return nil
	}
	return fmt.Errorf("%w: request %s/%s has been due for %s, and no worker takes it", errNotDeciding,
		oldest.request.Namespace, oldest.request.Name, now.Sub(oldest.dueIn(queue)).Round(time.Second))
}
