// Copyright The csi-driver-spiffe Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"golang.org/x/sync/errgroup"
	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

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

var update = flag.Bool("update", false, "write testdata/requests/admission.txt anew")

// makeRequests creates the requests in their namespaces, as their requesters, and
// returns those that were taken. Those to other issuers come
// first, so that an approver has seen them when it has decided the others.
func (w *world) makeRequests(files []corpus.File, refused *refusedRequests) (taken []corpus.File) {
	w.t.Helper()
	w.letRequest(files)
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b corpus.File) int { return cmp.Compare(a.Verdict, b.Verdict) })
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(16)
	for i, file := range files {
		if i > 0 && files[i-1].Verdict == policy.Ignore && file.Verdict != policy.Ignore {
			w.check(group.Wait())
		}
		group.Go(func() error {
			err := w.makeRequest(file)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				return refused.add(file.Name, err)
			}
			taken = append(taken, file)
			return nil
		})
	}
	w.check(group.Wait())
	return taken
}

// requesters is the group of whoever may create requests, whatever they are called.
func (w *world) requesters() string { return "requesters:" + w.issuer }

// letRequest makes the namespaces of the files, and has the group make requests in all.
func (w *world) letRequest(files []corpus.File) {
	w.t.Helper()
	for _, file := range files {
		_, err := w.Kubernetes.CoreV1().Namespaces().Create(w.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: file.Request.Namespace}}, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			w.check(err)
		}
	}
	meta := metav1.ObjectMeta{Name: "requesters-" + w.issuer}
	_, err := w.Kubernetes.RbacV1().ClusterRoles().Create(w.t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"cert-manager.io"}, Resources: []string{"certificaterequests"}, Verbs: []string{"create"},
	}}}, metav1.CreateOptions{})
	w.check(err)
	_, err = w.Kubernetes.RbacV1().ClusterRoleBindings().Create(w.t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: w.requesters()}},
	}, metav1.CreateOptions{})
	w.check(err)
	review := &authzv1.SubjectAccessReview{Spec: authzv1.SubjectAccessReviewSpec{
		User: "anybody", Groups: []string{w.requesters()},
		ResourceAttributes: &authzv1.ResourceAttributes{Namespace: "sandbox", Verb: "create", Group: "cert-manager.io", Resource: "certificaterequests"},
	}}
	w.eventually("the API server has seen the ClusterRoleBinding", func() bool {
		answer, err := w.Kubernetes.AuthorizationV1().SubjectAccessReviews().Create(w.t.Context(), review, metav1.CreateOptions{})
		w.check(err)
		return answer.Status.Allowed
	})
}

// makeRequest creates a request as its requester, by impersonation: none of the
// users need be there. cert-manager's webhook then fills in spec.username.
func (w *world) makeRequest(file corpus.File) error {
	request := file.Request.DeepCopy()
	spec := &request.Spec
	as := rest.CopyConfig(w.REST)
	as.Impersonate = rest.ImpersonationConfig{UserName: spec.Username, Groups: append(spec.Groups, w.requesters()), Extra: spec.Extra}
	client, err := cmclient.NewForConfig(as)
	if err != nil {
		return err
	}
	spec.Username, spec.Groups, spec.Extra = "", nil, nil
	if stamp := request.Annotations[policy.AnnotationHash]; policy.IsStamp(stamp) {
		// Of the policy in force, or a denial would be put off.
		request.Annotations[policy.AnnotationHash] = w.config.Policy().Hash()
	}
	// The issuer of the world is called otherwise than that of the files.
	spec.IssuerRef.Name = strings.NewReplacer(
		corpus.IssuerName, w.issuer, strings.ToUpper(corpus.IssuerName), strings.ToUpper(w.issuer),
	).Replace(spec.IssuerRef.Name)
	created, err := client.CertmanagerV1().CertificateRequests(request.Namespace).Create(w.t.Context(), request, metav1.CreateOptions{})
	if err == nil && created.Spec.Username != file.Request.Spec.Username {
		w.t.Errorf("%s: made as %q, want %q", file.Name, created.Spec.Username, file.Request.Spec.Username)
	}
	return err
}

// refusedRequests are those that no cluster takes.
type refusedRequests struct {
	mu    sync.Mutex
	lines []string
}

// add notes who refused a request. It returns an error if that is not the
// request's fault.
func (r *refusedRequests) add(name string, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	who := "client" // it could not even be sent
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		switch code := status.Status().Code; {
		case strings.Contains(err.Error(), "admission webhook"):
			who = "webhook"
		case code == 422:
			who = "schema"
		case code == 400:
			who = "api-server"
		default:
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	r.lines = append(r.lines, fmt.Sprintf("%-60s %-10s %s\n", name, who, reasonOf(err)))
	return nil
}

// reasonOf is what an error says, without what it quotes of the request.
func reasonOf(err error) string {
	message := err.Error()
	for _, before := range []string{"denied the request: ", "is invalid: "} {
		if _, after, found := strings.Cut(message, before); found {
			message = after
		}
	}
	message = regexp.MustCompile(`Invalid value: "(?s:.*)": |&user\.DefaultInfo\{.*\} |: supported values: .*|^Post "[^"]*": `).ReplaceAllString(message, "")
	return fmt.Sprintf("%.120s", strings.ReplaceAll(message, "\n", " "))
}

// requireGolden compares with the file.
func (r *refusedRequests) requireGolden(t *testing.T) {
	t.Helper()
	const path = repository + "/testdata/requests/admission.txt"
	slices.Sort(r.lines)
	got := admissionHead + strings.Join(r.lines, "")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("other requests are refused at admission, or otherwise, than %s says; with -update it is written anew:\n%s", path, got)
	}
}

const admissionHead = `# The requests of this folder that are refused before any approver sees them, by whom, and why:
#
#   client      they cannot be sent: no HTTP header holds such a user name
#   api-server  Kubernetes refuses the user name, or the object
#   schema      Kubernetes refuses the object by cert-manager's CustomResourceDefinition
#   webhook     cert-manager's webhook refuses what its issuers could not sign
#
# An approver must not count on that: other versions refuse other requests. Written by
# internal/dev/integration, TestCorpusOnTheCluster, with -update.

`
