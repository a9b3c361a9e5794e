// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"strings"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/csr/csrtest"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/corpus"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/dev/testkit"
	"github.com/csi-driver-spiffe/csi-driver-spiffe/internal/policy"
)

// Every request of testdata/requests that the API server and cert-manager's
// webhook take is made for real, by its requester, and decided by an approver.
// Of what is approved, cert-manager's CA issuer makes an SVID for the requester
// and for nothing else. What is not taken, and who refuses it, stands in
// testdata/requests/admission.txt.
func TestCorpusOnTheCluster(t *testing.T) {
	t.Parallel()
	testkit.Require(t)
	files, err := corpus.Read(repository + "/testdata/requests")
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[csr.KeySpec][]corpus.File{}
	for _, file := range files {
		byKey[file.Policy.Key] = append(byKey[file.Policy.Key], file)
	}
	var refused refusedRequests
	// Each key is a policy of its own, and so takes an approver of its own.
	t.Run("key", func(t *testing.T) {
		for key, files := range byKey {
			t.Run(key.String(), func(t *testing.T) {
				// The approver has to deny what the admission policies would reject.
				w := prepare(t, func(*world) string { return certificateSection(key) }, withoutAdmission)
				w.config = w.changedConfig("trustDomain: " + files[0].Policy.TrustDomain.String())
				w.startApprover()
				w.judge(w.makeRequests(files, &refused))
			})
		}
	})
	refused.requireGolden(t)
}

func certificateSection(key csr.KeySpec) string {
	section := "certificate: {duration: 1h, privateKey: {algorithm: " + string(key.Algorithm)
	if key.Size != 0 {
		section += ", size: " + strings.TrimPrefix(key.String(), string(key.Algorithm)+" ")
	}
	return section + "}}"
}

// judge waits until all requests are decided, and asserts that each is as its
// file says.
func (w *world) judge(files []corpus.File) {
	w.t.Helper()
	var decided map[string]*cmapi.CertificateRequest
	namespaces := map[string]bool{}
	for _, file := range files {
		namespaces[file.Request.Namespace] = true
	}
	waiting := ""
	// Not more often: a list of hundreds of requests is work for the API server.
	err := wait.PollUntilContextTimeout(w.t.Context(), time.Second/2, 2*time.Minute, true, func(context.Context) (bool, error) {
		decided = map[string]*cmapi.CertificateRequest{}
		for namespace := range namespaces {
			list, err := w.CertManager.CertmanagerV1().CertificateRequests(namespace).List(w.t.Context(), metav1.ListOptions{})
			w.check(err)
			for _, request := range list.Items {
				decided[request.Name] = &request
			}
		}
		waiting = ""
		for _, file := range files {
			if request := decided[file.Name]; file.Verdict != policy.Ignore && !isSettled(request) {
				waiting = file.Name
			}
		}
		return waiting == "", nil
	})
	if err != nil {
		w.t.Fatalf("not all requests are decided and, if approved, signed, such as %s: %v", waiting, err)
	}
	bundle, err := x509bundle.Parse(w.config.Policy().TrustDomain, w.ca.CertificatePEM)
	w.check(err)
	keys := csrtest.NewKeys()
	for _, file := range files {
		w.t.Run(file.Name, func(t *testing.T) {
			requireVerdict(t, file, decided[file.Name])
			if file.Verdict == policy.Approve {
				requireSVID(t, file, decided[file.Name], bundle, keys)
			}
		})
	}
}

func isSettled(request *cmapi.CertificateRequest) bool {
	return request != nil && (apiutil.CertificateRequestIsDenied(request) ||
		apiutil.CertificateRequestIsApproved(request) && apiutil.CertificateRequestReadyReason(request) != "" &&
			apiutil.CertificateRequestReadyReason(request) != cmapi.CertificateRequestReasonPending)
}

func requireVerdict(t *testing.T, file corpus.File, request *cmapi.CertificateRequest) {
	t.Helper()
	denied := apiutil.GetCertificateRequestCondition(request, cmapi.CertificateRequestConditionDenied)
	approved := apiutil.GetCertificateRequestCondition(request, cmapi.CertificateRequestConditionApproved)
	if (denied != nil) != (file.Verdict == policy.Deny) || (approved != nil) != (file.Verdict == policy.Approve) {
		t.Fatalf("conditions are %+v, want the verdict %s", request.Status.Conditions, file.Verdict)
	}
	if denied == nil {
		return
	}
	if denied.Status != cmmeta.ConditionTrue || len(request.Status.Certificate) > 0 {
		t.Errorf("denied with status %s and %d bytes of certificate", denied.Status, len(request.Status.Certificate))
	}
	for _, sentinel := range file.Want {
		// A message that was too long is cut, and says so.
		if !strings.Contains(denied.Message, sentinel.Error()) && !strings.Contains(denied.Message, "reasons in all)") {
			t.Errorf("message lacks %q: %s", sentinel, denied.Message)
		}
	}
}

func requireSVID(t *testing.T, file corpus.File, request *cmapi.CertificateRequest, bundle *x509bundle.Bundle, keys csrtest.Keys) {
	t.Helper()
	parsed, err := csr.Parse(file.Request.Spec.Request)
	if err != nil {
		t.Fatal(err)
	}
	want := corpus.SVID{
		ID:  policy.Evaluate(file.Policy, file.Request).ID,
		Key: keys.Of(parsed.PublicKey), Duration: file.Policy.Duration,
	}
	if err := corpus.CheckSVID(request.Status.Certificate, bundle, want); err != nil {
		t.Errorf("what the issuer made is wrong: %v\nstatus: %+v", err, request.Status)
	}
}
