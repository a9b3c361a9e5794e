// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"google.golang.org/grpc/codes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit/standin"
)

// stepKind makes the API server know the kind of step-issuer's issuers, as approvers
// need it. There is no object of it: nothing here reads one.
func stepKind() testkit.Objects {
	return testkit.Objects{{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "stepclusterissuers.certmanager.step.sm"},
		"spec": map[string]any{
			"group": "certmanager.step.sm", "scope": "Cluster",
			"names": map[string]any{"kind": "StepClusterIssuer", "listKind": "StepClusterIssuerList", "plural": "stepclusterissuers", "singular": "stepclusterissuer"},
			"versions": []any{map[string]any{
				"name": "v1beta1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}},
			}},
		},
	}}}
}

// startWithStep runs step-ca, and signs with it what has been approved in the world's
// namespace, as step-issuer does.
func (w *world) startWithStep() {
	w.t.Helper()
	program, err := filepath.Abs(filepath.Join(repository, "bin", "tools", "step-ca"))
	w.check(err)
	if _, err := os.Stat(program); err != nil {
		w.t.Skipf("needs %s: run `make test`, or `make bin/tools/step-ca`", program)
	}
	step, err := standin.StartStep(w.t.Context(), program, w.dir, w.ca, w.t.Output())
	w.check(err)
	w.t.Cleanup(step.Close)
	w.check(w.Apply(w.t.Context(), testkit.InstallNamespace, stepKind()))
	w.run("step-issuer", func(ctx context.Context) error { return w.signWithStep(ctx, step) })
	w.startWithIssuer("issuerRef: {name: spiffe, kind: StepClusterIssuer, group: certmanager.step.sm}",
		"stepclusterissuers.certmanager.step.sm/spiffe")
}

func (w *world) signWithStep(ctx context.Context, step *standin.Step) error {
	requests := w.CertManager.CertmanagerV1().CertificateRequests(w.workload.Namespace)
	events, err := requests.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		request, ok := event.Object.(*cmapi.CertificateRequest)
		if !ok || !apiutil.CertificateRequestIsApproved(request) || apiutil.CertificateRequestReadyReason(request) != "" {
			continue
		}
		request = request.DeepCopy()
		chain, ca, err := step.Sign(ctx, request.Spec.Request, request.Spec.Duration.Duration)
		status, reason, message := cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, "certificate issued"
		if err != nil {
			status, reason, message = cmmeta.ConditionFalse, cmapi.CertificateRequestReasonFailed, "failed to sign certificate request: "+err.Error()
		}
		request.Status.Certificate, request.Status.CA = chain, ca
		apiutil.SetCertificateRequestCondition(request, cmapi.CertificateRequestConditionReady, status, reason, message)
		if _, err := requests.UpdateStatus(ctx, request, metav1.UpdateOptions{}); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// step-ca signs every kind of key, and by its default template puts the SPIFFE ID into
// the common name as well.
func TestStepCA(t *testing.T) {
	for name, key := range map[string]string{
		"default": "{}", "ECDSA 256": "{algorithm: ECDSA, size: 256}", "RSA": "{algorithm: RSA, size: 2048}", "Ed25519": "{algorithm: Ed25519}",
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare(t, func(*world) string { return "certificate: {duration: 30m, privateKey: " + key + "}" })
			w.startWithStep()
			svid := w.readSVID(w.publish(w.pod("web-0")))
			w.verify(svid)
			if got := svid.Certificates[0].Subject.CommonName; got != svid.ID.String() {
				t.Errorf("common name %q, want the SPIFFE ID", got)
			}
			if n := len(svid.Certificates); n != 2 {
				t.Errorf("%d certificates in the chain, want the leaf and the intermediate CA, without the root", n)
			}
			if back := time.Since(svid.Certificates[0].NotBefore); back < time.Minute {
				t.Errorf("dated back by %s, want a minute", back)
			}
			w.requireRenewalsAfter(9*time.Minute, 21*time.Minute)
		})
	}
}

func TestStepCAThatRefusesTheLifetime(t *testing.T) {
	for duration, want := range map[string]string{
		"3m":  "is less than the authorized minimum certificate duration of 5m0s",
		"25h": "is more than the authorized maximum certificate duration of 24h1m0s",
	} {
		t.Run(duration, func(t *testing.T) {
			w := prepare(t, func(*world) string { return "certificate: {duration: " + duration + "}" })
			w.startWithStep()
			_, err := w.kubelet.Publish(t.Context(), w.pod("web-0"), testkit.VolumeName)
			w.requireRefusal(err, codes.FailedPrecondition, want)
		})
	}
}
