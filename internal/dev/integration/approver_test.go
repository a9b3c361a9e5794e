// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
