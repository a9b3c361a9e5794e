// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/approver"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/troubleshooting"
)

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
