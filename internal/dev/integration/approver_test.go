// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/config"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/approver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// spec is what the driver would ask for, for a ServiceAccount of the world's
// namespace.
func (w *world) spec(account string) cmapi.CertificateRequestSpec {
	w.t.Helper()
	demanded := w.config.Policy()
	id, err := spiffeid.FromSegments(demanded.TrustDomain, "ns", w.workload.Namespace, "sa", account)
	w.check(err)
	key, err := demanded.Key.Generate()
	w.check(err)
	csrPEM, err := csr.Build(id, key)
	w.check(err)
	return demanded.CertificateRequestSpec(id, csrPEM)
}

// request creates a CertificateRequest as a pod of the world's ServiceAccount.
func (w *world) request(spec cmapi.CertificateRequestSpec) string {
	w.t.Helper()
	return w.stampedRequest(spec, w.config.Policy().Hash())
}

// stampedRequest is request with the hash of a policy.
func (w *world) stampedRequest(spec cmapi.CertificateRequestSpec, stamp string) string {
	w.t.Helper()
	pod := w.asking()
	access, err := w.PodConfig(w.t.Context(), pod)
	w.check(err)
	client, err := cmclient.NewForConfig(access)
	w.check(err)
	request := testkit.RequestOf(pod, w.config.Policy(), spec)
	request.Annotations[policy.AnnotationHash] = stamp
	created, err := client.CertmanagerV1().CertificateRequests(w.workload.Namespace).Create(w.t.Context(), request, metav1.CreateOptions{})
	w.check(err)
	return created.Name
}

// decision waits until a request is decided, and returns how.
func (w *world) decision(name string) (decision cmapi.CertificateRequestCondition) {
	w.t.Helper()
	w.eventually("a decision", func() bool {
		request, err := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace).Get(w.t.Context(), name, metav1.GetOptions{})
		w.check(err)
		for _, kind := range []cmapi.CertificateRequestConditionType{cmapi.CertificateRequestConditionApproved, cmapi.CertificateRequestConditionDenied} {
			if condition := apiutil.GetCertificateRequestCondition(request, kind); condition != nil {
				decision = *condition
			}
		}
		return decision.Type != ""
	})
	return decision
}

func TestApproverApprovesWhatTheDriverAsksFor(t *testing.T) {
	w := prepare(t)
	waiting := w.request(w.spec("example-app")) // it must be found by an approver that starts later
	w.startApprover()
	decision := w.decision(waiting)
	if decision.Type != cmapi.CertificateRequestConditionApproved || decision.Reason != approver.ConditionReason {
		t.Errorf("decision %+v, want Approved with reason %s", decision, approver.ConditionReason)
	}
}

func TestApproverDeniesWithEveryReason(t *testing.T) {
	w := prepare(t, withoutAdmission) // which would reject spec.isCA
	w.startApprover()
	spec := w.spec("somebody-else")
	spec.IsCA = true
	spec.Duration = nil
	decision := w.decision(w.request(spec))
	if decision.Type != cmapi.CertificateRequestConditionDenied || decision.Reason != approver.ConditionReason {
		t.Errorf("decision %+v, want Denied with reason %s", decision, approver.ConditionReason)
	}
	for _, reason := range []string{"wrong spec.isCA", "wrong spec.duration", "wrong SPIFFE ID in spec.request"} {
		if !strings.Contains(decision.Message, reason) {
			t.Errorf("message %q lacks %q", decision.Message, reason)
		}
	}
}

// A made-up stamp can put a denial off, and nothing else.
func TestApproverIsNotFooledByAStamp(t *testing.T) {
	w := prepare(t, func(*world) string { return "rollout: {gracePeriod: 2s}" })
	w.startApprover()
	wrong := w.spec("somebody-else")
	for _, stamp := range []string{"0123456789abcdef", w.config.Policy().Hash()} {
		decision := w.decision(w.stampedRequest(wrong, stamp))
		if decision.Type != cmapi.CertificateRequestConditionDenied {
			t.Errorf("stamp %s: %s: %s", stamp, decision.Type, decision.Message)
		}
	}
	troubleshooting.Row("put off: made under a policy that is not known here").Seen(t, w.log.String())
}

// A request to another issuer is not ours to decide, even if it is all wrong.
func TestApproverLeavesOtherIssuersAlone(t *testing.T) {
	w := prepare(t)
	w.startApprover()
	foreign := w.spec("somebody-else")
	foreign.IssuerRef.Name = "another"
	untouched := w.request(foreign)
	w.decision(w.request(w.spec("example-app"))) // made later, so the other one has been seen by now
	w.requireUndecided(untouched)
}

// requireUndecided asserts that a request has been left alone up to now.
func (w *world) requireUndecided(name string) {
	w.t.Helper()
	request, err := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace).Get(w.t.Context(), name, metav1.GetOptions{})
	w.check(err)
	if apiutil.CertificateRequestIsApproved(request) || apiutil.CertificateRequestIsDenied(request) {
		w.t.Errorf("%s was decided: %+v", name, request.Status.Conditions)
	}
}

// One replica decides; when it stops, another takes over at once, since it
// lets go of the Lease.
func TestApproverReplicasHandOver(t *testing.T) {
	w := prepare(t)
	w.config.Approver.LeaderElection = config.LeaderElection{
		Enabled: true, LeaseName: "csi-driver-spiffe-approver-" + w.issuer,
		LeaseDuration: longLease, RenewDeadline: longLease - 1, RetryPeriod: shortRetry,
	}
	stopFirst := w.startReplica("first")
	w.decision(w.request(w.spec("example-app")))
	w.startReplica("second")
	stopFirst()
	w.decision(w.request(w.spec("example-app")))
	lease, err := w.Kubernetes.CoordinationV1().Leases(testkit.InstallNamespace).Get(t.Context(), w.config.Approver.LeaderElection.LeaseName, metav1.GetOptions{})
	w.check(err)
	if holder := *lease.Spec.HolderIdentity; holder != "second" {
		t.Errorf("the Lease is held by %q, want the second replica", holder)
	}
}

// flood creates bad requests in a namespace of their own, and returns its name.
func (w *world) flood(count int) (namespace string) {
	w.t.Helper()
	namespace = w.workload.Namespace + "-flood"
	w.check(w.CreateNamespace(w.t.Context(), testkit.Workload{Namespace: namespace, ServiceAccount: "flood", Driver: w.workload.Driver}))
	spec := w.spec("example-app")
	creating, ctx := errgroup.WithContext(w.t.Context())
	creating.SetLimit(8)
	for range count {
		creating.Go(func() error {
			_, err := w.CertManager.CertmanagerV1().CertificateRequests(namespace).Create(ctx,
				&cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{GenerateName: "flood-"}, Spec: spec}, metav1.CreateOptions{})
			return err
		})
	}
	w.check(creating.Wait())
	return namespace
}

// decidedInOrder has the namespaces of the requests that the approver has decided.
func (w *world) decidedInOrder() (namespaces []string) {
	for _, match := range regexp.MustCompile(`msg=decided .*?request=([^/]+)/`).FindAllStringSubmatch(w.log.String(), -1) {
		namespaces = append(namespaces, match[1])
	}
	return namespaces
}

// An approver that finds a backlog of one namespace decides the younger requests
// of another in turns with it.
func TestApproverIsFairBetweenNamespaces(t *testing.T) {
	const bad, honest = 200, 3
	w := prepare(t, func(*world) string {
		return "approver: {httpAddress: '', workers: 1, leaderElection: {enabled: false}}"
	})
	flood := w.flood(bad)
	for range honest {
		w.request(w.spec("example-app"))
	}
	w.startApprover()
	var order []string
	w.eventually("the honest requests are decided", func() bool {
		order = w.decidedInOrder()
		return strings.Count(strings.Join(order, " ")+" ", w.workload.Namespace+" ") == honest
	})
	before := 0
	for remaining := honest; remaining > 0; order = order[1:] {
		if order[0] == flood {
			before++
		} else {
			remaining--
		}
	}
	// One more may have been taken up before all were there.
	if before > honest+1 {
		t.Errorf("%d of %d bad requests of another namespace were decided before the last of %d honest ones, want at most %d", before, bad, honest, honest+1)
	}
}

// gate has the approver reach the API server through a gate.
func (w *world) gate() *testkit.Gate {
	w.t.Helper()
	gate, err := testkit.NewGate(w.installation.Approver)
	w.check(err)
	w.t.Cleanup(func() { _ = gate.Close() })
	w.installation.Approver = gate.Through(w.installation.Approver)
	return gate
}

// logged waits until the daemons have logged something.
func (w *world) logged(text string) {
	w.t.Helper()
	w.eventually("the log says: "+text, func() bool { return strings.Contains(w.log.String(), text) })
}

// logs waits until the daemons have logged what a row of README says that people
// see.
func (w *world) logs(row troubleshooting.Row) {
	w.t.Helper()
	w.eventually("the log says: "+string(row), func() bool { return row.In(w.log.String()) })
	row.Seen(w.t, w.log.String())
}

func TestApproverOutlivesTheAPIServer(t *testing.T) {
	w := prepare(t)
	gate := w.gate()
	w.startApprover()
	w.requireApproved(w.request(w.spec("example-app")))
	gate.Shut()
	w.logs(troubleshooting.Row("CertificateRequests cannot be watched"))
	good, bad := w.request(w.spec("example-app")), w.request(w.spec("somebody-else"))
	gate.Open()
	w.requireApproved(good)
	w.requireDenied(bad)
	w.logged("CertificateRequests are watched again")
}

func TestApproverStartsBeforeTheAPIServer(t *testing.T) {
	w := prepare(t)
	gate := w.gate()
	gate.Shut()
	w.startApprover()
	w.logged("CertificateRequests cannot be watched")
	waiting := w.request(w.spec("example-app"))
	gate.Open()
	w.requireApproved(waiting)
}

// Connections are cut again and again while requests come in.
func TestApproverLosesNothingWhenItsWatchIsCut(t *testing.T) {
	w := prepare(t)
	gate := w.gate()
	w.startApprover()
	var good, bad []string
	for range 15 {
		good = append(good, w.request(w.spec("example-app")))
		gate.Cut()
		bad = append(bad, w.request(w.spec("somebody-else")))
	}
	for i := range good {
		w.requireApproved(good[i])
		w.requireDenied(bad[i])
	}
}

// breakWebhook puts a webhook in the way of the world's namespace, and of nobody
// else, that has the name of cert-manager's and does not answer. It waits until a
// call to the API fails because of that.
func (w *world) breakWebhook(operation admissionv1.OperationType, resource string, call func() error) (restore func()) {
	w.t.Helper()
	hooks := w.Kubernetes.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err := hooks.Create(w.t.Context(), &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: w.issuer},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "webhook.cert-manager.io", ClientConfig: admissionv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/validate")},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.workload.Namespace}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{operation},
				Rule:       admissionv1.Rule{APIGroups: []string{"cert-manager.io"}, APIVersions: []string{"v1"}, Resources: []string{resource}},
			}},
			SideEffects: ptr.To(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	w.check(err)
	w.eventually("the API server asks the webhook", func() bool { return call() != nil })
	return func() { w.t.Helper(); w.check(hooks.Delete(w.t.Context(), w.issuer, metav1.DeleteOptions{})) }
}

func TestApproverWaitsForTheWebhook(t *testing.T) {
	w := prepare(t)
	name := w.request(w.spec("example-app"))
	requests := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace)
	restore := w.breakWebhook(admissionv1.Update, "certificaterequests/status", func() error {
		request, err := requests.Get(t.Context(), name, metav1.GetOptions{})
		w.check(err)
		_, err = requests.UpdateStatus(t.Context(), request, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	})
	w.startApprover()
	w.logs(troubleshooting.Row("cert-manager's webhook, …, does not answer"))
	w.requireUndecided(name)
	restore()
	w.requireApproved(name)
}

// A denial is an Event of the request, with every reason.
func TestDenialIsAnEvent(t *testing.T) {
	w := prepare(t)
	w.startApprover()
	spec := w.spec("somebody-else")
	spec.Duration = nil
	name := w.request(spec)
	message := w.decision(name).Message
	w.eventually("the Event", func() bool {
		events, err := w.Kubernetes.EventsV1().Events(w.workload.Namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "regarding.name=" + name})
		w.check(err)
		for _, event := range events.Items {
			if event.Reason == approver.EventReason && event.Type == "Warning" && event.Note == message && event.ReportingController == "csi-driver-spiffe-approver" {
				return true
			}
		}
		return false
	})
}

// history holds the decision that each request was first seen with.
type history struct {
	t *testing.T

	mu        sync.Mutex
	decisions map[string]string
}

// follow watches the world's requests. A decision that changes fails the test.
func (w *world) follow() *history {
	w.t.Helper()
	h := &history{t: w.t, decisions: map[string]string{}}
	watch, err := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace).Watch(w.t.Context(), metav1.ListOptions{})
	w.check(err)
	w.t.Cleanup(watch.Stop)
	go func() {
		for event := range watch.ResultChan() {
			if request, ok := event.Object.(*cmapi.CertificateRequest); ok {
				h.see(request)
			}
		}
	}()
	return h
}

func (h *history) see(request *cmapi.CertificateRequest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var decisions []string
	for _, kind := range []cmapi.CertificateRequestConditionType{cmapi.CertificateRequestConditionApproved, cmapi.CertificateRequestConditionDenied} {
		if c := apiutil.GetCertificateRequestCondition(request, kind); c != nil {
			decisions = append(decisions, fmt.Sprintf("%s %s at %s: %s\n", c.Type, c.Status, c.LastTransitionTime, c.Message))
		}
	}
	now := strings.Join(decisions, "")
	switch before := h.decisions[request.Name]; {
	case before != "" && now != before:
		h.t.Errorf("%s was decided twice:\n%s%s", request.Name, before, now)
	case now != "":
		h.decisions[request.Name] = now
	}
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.decisions)
}

// startApprovers starts two approvers as processes, with the shortest lease.
func (w *world) startApprovers() map[string]*testkit.Program {
	w.t.Helper()
	bin := testkit.RequirePrograms(w.t)
	w.changedConfig(`approver: {httpAddress: "", workers: 2, leaderElection: {leaseName: csi-driver-spiffe-approver-` + w.issuer +
		`, leaseDuration: 2s, renewDeadline: 1s, retryPeriod: 200ms}}`)
	programs := map[string]*testkit.Program{}
	for _, name := range []string{"first", "second"} {
		dir := filepath.Join(w.dir, name)
		w.check(os.Mkdir(dir, 0o700))
		w.check(os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(strings.Join(w.lines, "\n")+"\n"), 0o600))
		program, err := testkit.StartProgram(bin, dir, "csi-driver-spiffe-approver", w.installation.Approver,
			"--identity", name, "--namespace", testkit.InstallNamespace)
		w.check(err)
		w.t.Cleanup(func() { _ = program.Kill() })
		programs[name] = program
	}
	return programs
}

// leader waits until there is one that is not another, and returns its name.
func (w *world) leader(not string) (holder string) {
	w.t.Helper()
	w.eventually("a leader", func() bool {
		lease, err := w.Kubernetes.CoordinationV1().Leases(testkit.InstallNamespace).Get(w.t.Context(), "csi-driver-spiffe-approver-"+w.issuer, metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil {
			return false
		}
		holder = *lease.Spec.HolderIdentity
		return holder != "" && holder != not
	})
	return holder
}

// The leader is killed, not stopped, in the midst of its work. The other takes
// over when the lease has run out; no request is lost, and none decided twice.
func TestApproverLeaderIsKilled(t *testing.T) {
	w := prepare(t)
	programs := w.startApprovers()
	killed := w.leader("")
	seen := w.follow()
	var names []string
	made := make(chan struct{})
	go func() {
		defer close(made)
		for range 60 {
			names = append(names, w.request(w.spec("example-app")))
		}
	}()
	w.eventually("the leader is at work", func() bool { return seen.count() > 5 })
	w.check(programs[killed].Kill())
	<-made
	for _, name := range names {
		w.requireApproved(name)
	}
	if leader := w.leader(killed); programs[leader] == nil {
		t.Errorf("the Lease is held by %q", leader)
	}
}

// requestMany makes requests at the same time.
func (w *world) requestMany(count int) []string {
	names := make([]string, count)
	var all sync.WaitGroup
	for i := range names {
		all.Go(func() { names[i] = w.request(w.spec("example-app")) })
	}
	all.Wait()
	return names
}

// Two approvers without leader election, as if two leaders overlapped: each
// request is decided once.
func TestApproversThatOverlap(t *testing.T) {
	w := prepare(t)
	seen := w.follow()
	w.startReplica("first")
	w.startReplica("second")
	for _, name := range w.requestMany(40) {
		w.requireApproved(name)
	}
	w.eventually("all decisions are seen", func() bool { return seen.count() == 40 })
	decided := func() int { return strings.Count(w.log.String(), "msg=decided") }
	w.eventually("all decisions are logged", func() bool { return decided() >= 40 })
	if n := decided(); n != 40 {
		t.Errorf("%d decisions are logged for 40 requests", n)
	}
}
